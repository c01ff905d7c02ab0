"""The code in a repository of weights with which transformers loads it (``trust_remote_code=True``)."""

__all__ = ["AUTO_MAP", "MODELING", "MODELING_NAME"]

MODELING_NAME = "modeling.py"

# Subclasses, because transformers marks the class that it loads from a repository; with the names of their bases, by
# which its pipelines know what a model is for.
MODELING = '''"""Load this repository with transformers and trust_remote_code=True; requires wavenet_zoo and timm."""

import transformers
import wavenet_zoo  # registers the architecture with timm


class TimmWrapperModel(transformers.TimmWrapperModel):
    pass


class TimmWrapperForImageClassification(transformers.TimmWrapperForImageClassification):
    pass
'''

AUTO_MAP = {
    "AutoModel": "modeling.TimmWrapperModel",
    "AutoModelForImageClassification": "modeling.TimmWrapperForImageClassification",
}
