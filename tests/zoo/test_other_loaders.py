"""Published weights in transformers and torch.hub: real processes with a local Hub and an empty cache."""

import json
from pathlib import Path

import pytest

from wavenet_zoo.zoo.package import make_package

REPO = "zoo/waveletnet-digits"
CHECKOUT = Path(__file__).resolve().parent.parent.parent
LOAD = """
import json, sys, torch
repo, checkout, user = sys.argv[1:]
if user == "imports":
    import wavenet_zoo
trust = {} if user == "imports" else {"trust_remote_code": True}
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification
processor = AutoImageProcessor.from_pretrained(repo, **trust)
image = Image.effect_mandelbrot((40, 50), (-2, -1, 1, 1), 50).convert("RGB")
x = processor(image, return_tensors="pt")["pixel_values"]
model = AutoModelForImageClassification.from_pretrained(repo, **trust).eval()
features = AutoModel.from_pretrained(repo, **trust).eval()
with torch.no_grad():
    logits, shape = model(pixel_values=x).logits, features(pixel_values=x).pooler_output.shape
print(json.dumps({"class": type(model).__module__, "labels": model.config.id2label, "features": list(shape)}))

import timm
from wavenet_zoo.data.preprocessing import evaluation_transform, preprocessing_of
for other in (
    timm.create_model("hf-hub:" + repo, pretrained=True),
    torch.hub.load(checkout, "from_hub", repo, source="local"),
):
    assert other.num_classes == 10
    with torch.no_grad():
        assert torch.equal(other.eval()(x), logits)
    assert torch.equal(evaluation_transform(preprocessing_of(other))(image)[None], x)
"""


@pytest.mark.long
@pytest.mark.parametrize("user", ["imports", "trusts"])
def test_transformers_and_torch_hub_load_what_timm_loads(hub, run, weights, user):
    pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    hub.create(REPO)
    hub.commit(REPO, dict(make_package("waveletnet_cifar_m1", weights, REPO).files))
    loaded = run("-c", LOAD, REPO, CHECKOUT, user, token=None)
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout.splitlines()[-1])
    assert found["class"].split(".")[0] == {"imports": "transformers", "trusts": "transformers_modules"}[user]
    assert list(found["labels"].values()) == [str(digit) for digit in range(10)] and found["features"] == [1, 64]
