"""Names of the outputs, also where the file has none."""

from mindcv_hrnet.deploy.labels import imagenet_names, label_names


def test_the_files_own_names_come_first():
    assert label_names(("ant", "bee"), 2) == ("ant", "bee")
    assert label_names((), 3) == ("0", "1", "2")


def test_imagenet_is_what_a_thousand_classes_without_names_are():
    names = label_names((), 1000)
    assert (names[0], names[281], names[967], names[999]) == ("tench", "tabby cat", "espresso", "toilet paper")
    assert len(set(names)) == 1000
    # the order of the classes is that of the folders
    assert list(imagenet_names()) == sorted(imagenet_names())


def test_numbers_of_wordnet_get_their_words():
    assert label_names(("n01440764", "n02123045", "n99999999"), 3) == (
        "n01440764 tench",
        "n02123045 tabby cat",
        "n99999999",
    )
