"""Take training steps by a recipe as wavezoo train does, loader included, and print images per second as JSON.

python benchmarks/train_steps.py tiny_imagenet/waveletnet_x1 tiny-imagenet-200 --steps 30 --wait-passively --keep-memory
"""

import argparse
import itertools
import json
import resource
import time

from wavenet_zoo.runtime.cpus import keep_freed_memory, wait_passively

WARM_UP = 2  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--wait-passively", action="store_true")
    parser.add_argument("--keep-memory", action="store_true")
    options = parser.parse_args()
    if options.wait_passively:
        wait_passively()
    if options.keep_memory:
        keep_freed_memory()

    from wavenet_zoo.data.loaders import batches
    from wavenet_zoo.runtime.distributed import init_distributed
    from wavenet_zoo.training.build import build_training
    from wavenet_zoo.training.settings import run_settings
    from wavenet_zoo.training.step import MicroBatches, train_step

    settings = run_settings(options.recipe, options.data, "unused", options.overrides, None, None, None)
    with init_distributed("cpu") as distributed:
        training = build_training(settings, distributed)
        training.model.train()
        training.train_loader.batch_sampler.start(epoch=1)
        with batches(training.train_loader) as iterator:
            micro_batches = MicroBatches(iterator)
            for step in range(WARM_UP + options.steps):
                if step == WARM_UP:
                    started = time.perf_counter()
                train_step(training, itertools.islice(micro_batches, settings.recipe.accumulation), step)
            seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images_per_second": options.steps * settings.recipe.batch_size / seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
