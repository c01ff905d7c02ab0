"""ImageNet's evaluation sets, in folders with the names that they are distributed with."""

from importlib import resources

import pytest
import torch
from timm.data.real_labels import RealLabelsImagenet

from wavenet_zoo.data.classes import imagenet_classes, match_classes
from wavenet_zoo.data.label_sets import class_names, real_labels, recognize_label_set
from wavenet_zoo.data.open import open_data
from wavenet_zoo.data.sources import ArrayImages, FolderImages
from wavenet_zoo.data.subsets import SubsetImages
from wavenet_zoo.errors import WavezooError

SYNSETS = imagenet_classes(1000)


def packaged(name):
    return (resources.files("timm.data") / "_info" / f"{name}.txt").read_text().split()


CLASSES = {
    "imagenet-a": packaged("imagenet_a_synsets"),
    "imagenet-r": packaged("imagenet_r_synsets"),
    "imagenetv2-matched-frequency-format-val": [str(number) for number in range(1000)],
    "sketch": SYNSETS,
}
IMAGES = {
    "imagenet-a": "0.000116_digital clock _ digital clock_0.865662.jpg",
    "imagenet-r": "art_0.jpg",
    "imagenetv2-matched-frequency-format-val": "7e40a5d9bb5aee8ca9ea9f4c1a2b0d1b8a0c3c2e.jpeg",
    "sketch": "sketch_0.JPEG",
}
NAMES = dict(zip(CLASSES, ("imagenet-a", "imagenet-r", "imagenet-v2", "imagenet-sketch")))


def write(root, classes, image):
    """Write an empty file for every class: the names matter."""
    for name in classes:
        (root / name).mkdir(parents=True)
        (root / name / image).touch()
    return open_data(root, "val")


@pytest.mark.parametrize("folder", CLASSES)
def test_evaluation_set_is_recognized_by_its_folders(tmp_path, folder):
    source = write(tmp_path / folder, CLASSES[folder], IMAGES[folder])
    found = recognize_label_set(source)
    assert found.name == NAMES[folder]
    assert found.among == ("data" if len(CLASSES[folder]) == 200 else "all")
    assert recognize_label_set(SubsetImages(source, [0])) == found
    outputs = match_classes(class_names(source, found, SYNSETS), SYNSETS, 1000)
    if folder.startswith("imagenet-"):
        indices = [int(index) for index in packaged(f"{folder.replace('-', '_')}_indices")]
        assert outputs == indices == [SYNSETS.index(name) for name in source.classes]
        assert found.description.endswith("among its 200 classes")
    else:
        assert outputs == list(range(1000)) and found.description.endswith("among all outputs")


@pytest.mark.parametrize("folder", ["imagenet-a", "imagenetv2-matched-frequency-format-val"])
def test_evaluation_set_is_recognized_in_a_tar_file(write_tar, folder):
    archive = write_tar(f"{folder}.tar", *((f"{folder}/{name}/{IMAGES[folder]}", b"x") for name in CLASSES[folder]))
    assert recognize_label_set(open_data(archive, "val")).name == NAMES[folder]


@pytest.mark.parametrize(
    ("folder", "classes", "image"),
    [
        ("imagenet/val", SYNSETS, "ILSVRC2012_val_00000293.JPEG"),
        ("imagenet-a", SYNSETS[:200], IMAGES["imagenet-a"]),
        ("imagenet-a", CLASSES["imagenet-a"][1:], IMAGES["imagenet-a"]),
        ("imagenet200", CLASSES["imagenet-r"], "ILSVRC2012_val_00000293.JPEG"),  # ImageNet's images of these classes
        ("imagenet200", CLASSES["imagenet-a"], "n01440764_10026.JPEG"),
        ("numbers", [str(number) for number in range(1000)], "1.jpeg"),
        ("imagenetv2", [str(number) for number in range(1, 1001)], "1.jpeg"),
    ],
)
def test_similar_folders_are_no_evaluation_set(tmp_path, folder, classes, image):
    files = [tmp_path / folder / name / image for name in classes]
    source = FolderImages(tmp_path / folder, "", classes, files, list(range(len(classes))))
    assert recognize_label_set(source) is None
    assert class_names(source, None, SYNSETS) == classes


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("ImageNet-V2/val", "imagenet-v2"),
        ("imagenet_v2", "imagenet-v2"),
        ("imagenetv2/other", None),
        ("ImageNet-Sketch/val", "imagenet-sketch"),
        ("sketchbook", None),
    ],
)
def test_name_of_the_data_decides_where_folders_do_not(tmp_path, folder, name):
    classes = CLASSES["imagenetv2-matched-frequency-format-val"] if "2" in folder else SYNSETS
    files = [tmp_path / folder / name / "1.jpeg" for name in classes]
    found = recognize_label_set(FolderImages(tmp_path / folder, "", classes, files, list(range(1000))))
    assert (found and found.name) == name


def test_numbers_of_v2_match_synsets_of_models_in_any_order(tmp_path):
    folder = "imagenetv2-matched-frequency-format-val"
    files = [tmp_path / folder / name / "1.jpeg" for name in CLASSES[folder]]
    source = FolderImages(tmp_path / folder, "", CLASSES[folder], files, list(range(1000)))
    found = recognize_label_set(source)
    for model in (SYNSETS[::-1], imagenet_classes(21842)):
        outputs = match_classes(class_names(source, found, model), model, len(model))
        assert [model[output] for output in outputs] == SYNSETS
    for model in (None, [f"name {number}" for number in range(1000)]):
        assert match_classes(class_names(source, found, model), model, 1000) == list(range(1000))


def validation_images(root, names):
    files = [root / "n01440764" / name for name in names]
    return FolderImages(root, "val", ["n01440764"], files, [0] * len(files))


def test_real_labels_are_those_of_timm(tmp_path, caplog):
    caplog.set_level("INFO", "wavenet_zoo")
    numbers = torch.randperm(50_000, generator=torch.Generator().manual_seed(0)) + 1
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]
    subset, labels = real_labels(validation_images(tmp_path, names))
    known = RealLabelsImagenet(names)
    expected = [(index, known.real_labels[name]) for index, name in enumerate(names) if known.real_labels[name]]
    assert subset.indices == [index for index, _ in expected]
    assert labels == [tuple(sorted(valid)) for _, valid in expected]
    ignored = sum(not valid for valid in known.real_labels.values())
    assert caplog.messages == [f"labels: ignored {ignored:,} of 50,000 images, which have no label in ImageNet-ReaL"]

    outputs = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(1))
    ours = {k: [] for k in (1, 5)}
    by_index = dict(zip(subset.indices, labels))
    for index, top in enumerate(outputs.topk(5).indices.tolist()):
        known.add_result(outputs[index : index + 1])
        if index in by_index:
            ours[1].append(top[0] in by_index[index])
            ours[5].append(bool(set(top) & set(by_index[index])))
    assert known.is_correct == ours


def test_real_labels_belong_to_the_number_in_the_file_name(tmp_path):
    names = ["ILSVRC2012_val_00000005.jpeg", "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000004_n01440764.JPEG"]
    root = tmp_path / "val" / "n01440764" / "sub"
    root.mkdir(parents=True)
    for name in names:
        (root / name).touch()
    subset, labels = real_labels(open_data(tmp_path, "val"))
    known = RealLabelsImagenet(range(50_000)).real_labels
    assert known["ILSVRC2012_val_00000001.JPEG"] == []
    assert [subset.relative_path(index).rpartition("/")[2] for index in (0, 1)] == [names[2], names[0]]
    assert labels == [tuple(sorted(known[f"ILSVRC2012_val_0000000{number}.JPEG"])) for number in (4, 5)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ILSVRC2012_val_00000002.JPEG", "cat.JPEG"], "n01440764/cat.JPEG: --labels real needs ImageNet's"),
        (["ILSVRC2012_val_2.JPEG"], "--labels real needs ImageNet's validation set"),
        (["xILSVRC2012_val_00000002.JPEG"], "--labels real needs ImageNet's validation set"),
        (["ILSVRC2012_val_00000000.JPEG"], "--labels real has no image 0, the validation set has 1 to 50,000"),
        (["ILSVRC2012_val_00050001.JPEG"], "--labels real has no image 50,001"),
        (["ILSVRC2012_val_00000001.JPEG"], "none of 1 images has a label in ImageNet-ReaL"),
        (["ILSVRC2012_val_00000002.JPEG", "ILSVRC2012_val_00000002.png"], "00000002.png: has the number of"),
    ],
)
def test_images_that_are_not_imagenets_validation_set_are_refused(tmp_path, names, message):
    with pytest.raises(WavezooError) as error:
        real_labels(validation_images(tmp_path, names))
    assert message in error.value.message and "\n" not in str(error.value)


def test_data_without_file_names_has_no_real_labels():
    images = torch.zeros(1, 2, 2, dtype=torch.uint8).numpy()
    with pytest.raises(WavezooError, match="x val image 0: --labels real needs ImageNet's validation set"):
        real_labels(ArrayImages("x", "val", ["a"], images, [0]))
