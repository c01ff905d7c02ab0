import pytest
from timm.data import ImageNetInfo

from wavenet_zoo.data.classes import imagenet_classes, match_classes
from wavenet_zoo.errors import WavezooError

SYNSETS = list(ImageNetInfo().label_names())


def test_imagenet_synsets_match_imagenet_outputs():
    assert match_classes([SYNSETS[7], SYNSETS[999]], imagenet_classes(1000), 1000) == [7, 999]
    assert match_classes([SYNSETS[7], SYNSETS[999]], None, 1000) == [7, 999]  # random weights have no class names


def test_classes_named_0_to_999_are_indices():
    names = [str(i) for i in range(1000)]
    assert match_classes(names, imagenet_classes(1000), 1000) == list(range(1000))


@pytest.mark.reliability(16)
def test_known_names_match_by_name_in_any_order():
    assert match_classes(["dog", "cat"], ["cat", "dog", "eel"], 3) == [1, 0]


def test_unknown_names_match_in_order_if_counts_agree():
    assert match_classes(["a", "b"], None, 2) == [0, 1]
    assert match_classes(["n00000001", "n00000002"], None, 2) == [0, 1]


@pytest.mark.reliability(16)
@pytest.mark.parametrize(
    ("data", "model", "number", "message"),
    [
        (["a", "b", "c"], None, 2, "the weights have 2 classes and the data has 3"),
        (["a", "b"], SYNSETS, 1000, "the weights have 1000 classes and the data has 2"),
        (["n99999999", SYNSETS[0]], None, 1000, "'n99999999' is not a class of the weights"),
        (
            ["cat", "ox"],
            ["cat", "dog"],
            2,
            "class 'ox' of the data is not a class of the weights (1 of 2 names differ)",
        ),
    ],
)
def test_unmatched_classes_raise_with_both_counts(data, model, number, message):
    with pytest.raises(WavezooError) as error:
        match_classes(data, model, number)
    assert message in str(error.value)
    assert error.value.hint


@pytest.mark.reliability(16, 41)
def test_names_match_in_another_unicode_normal_form(caplog):
    caplog.set_level("INFO", logger="wavenet_zoo")
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    assert match_classes([nfd, "b"], ["b", nfc, "c"], 3) == [1, 0]
    assert "matched in Unicode normal form NFC: cafe\u0301" in caplog.text
    for data, model in (([nfc, nfd], [nfc, "b"]), (["b", "\u212b"], ["\u00c5", "A\u030a"])):
        with pytest.raises(WavezooError, match="differ in their Unicode normal form only"):
            match_classes(data, model, 2)


@pytest.mark.reliability(16)
def test_repeated_class_names_are_not_matched_by_name():
    assert match_classes(["crane", "cat", "crane"], ["crane", "cat", "crane"], 3) == [0, 1, 2]
    for data in (["crane"], ["cat", "cat"]):
        with pytest.raises(WavezooError, match=r"two classes are named '(crane|cat)'"):
            match_classes(data, ["crane", "cat", "crane"] if data == ["crane"] else ["a", "b", "cat"], 3)


@pytest.mark.reliability(16, 37)
@pytest.mark.parametrize("data", [["0", "1"], ["a", "b"], [str(i) for i in range(20)]])
def test_metadata_with_more_classes_than_outputs_is_rejected(data):
    with pytest.raises(WavezooError, match="names 20 classes, but the model has 10 outputs"):
        match_classes(data, [str(i) for i in range(20)], 10)


@pytest.mark.reliability(68)
def test_single_class_is_a_warning(caplog):
    assert match_classes(["a"], None, 1) == [0]
    assert "only one class: the loss is 0" in caplog.text
