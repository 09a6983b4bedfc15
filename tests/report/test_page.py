"""The page: what stands in it, what it says where something is missing, and how large it becomes."""

import re
import time

import pytest
from made_up_runs import write_answers, write_run

from mindcv_hrnet.errors import ConfigError, DataError, RunError

NOT_HERE = "Not in this report: Nothing was evaluated (--evaluate False)."


def part(text, name, run=1):
    """A section of the page, as text with its tags."""
    (found,) = re.findall(rf'<section id="run{run}-{name}".*?</section>', text, re.S)
    return found


def words(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def test_every_part_is_there(page):
    _, text = page
    results = words(part(text, "results"))
    assert "Best top-1 90.00 % epoch 4 of 6" in results and "Validation loss 0.7 0.5333" in results
    assert "Answers for 18 images from the file" in results
    curves = part(text, "curves")
    assert re.findall(r"<figcaption>(.*?)</figcaption>", curves) == [
        *("Loss", "Accuracy, %", "Learning rate", "Images per second", "Seconds per epoch", "Waiting for data, %"),
        *("Loss", "Gradient norm"),
    ]
    assert "validation top-5 98.5 training top-1 90" in words(curves)
    assert (
        "Not drawn, because it never changed: training top-1, epoch so far 50, "
        "learning rate 0.001, loss scale 1, images per second 140, "
        "waiting for data 0.5." in words(curves)
    )
    assert "Without any value in this run: device memory." in words(curves)
    assert part(text, "classes").count("<tr>") == 1 + 6
    assert part(text, "confusion").count('class="lown"') == 6
    assert "expected calibration error (ECE), 15 bins" in words(part(text, "calibration"))
    assert "arXiv:1706.04599" in text
    assert part(text, "mistakes").count('<img src="data:image/jpeg;base64,') == part(text, "mistakes").count("<li>") > 3
    data = words(part(text, "data"))
    assert "Training 18 6 3 3 3" in data and "Validation 18 6 3 3 3" in data
    assert "Waiting for data 0.35 % (median epoch)" in words(part(text, "speed"))
    assert "Global batch 32 on 1 rank" in words(part(text, "speed"))
    recipe = words(part(text, "recipe"))
    assert "nearest. Key This run Default hrnet_w18_small_ascend" in recipe and "epoch_size 6 90 300" in recipe
    environment = words(part(text, "environment"))
    assert (
        "Command train.py -c my.yaml" in environment
        and "Device CPU" in environment
        and "mindspore 2.10.0" in environment
    )


def test_nothing_comes_from_elsewhere_and_names_are_text(page, two):
    for _, text in (page, two):
        assert "<script>alert" not in text and "&lt;script&gt;alert" in text and "dog &#34;&amp; cat" in text
        assert set(re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', text)) == {"https://arxiv.org/abs/1706.04599"}
        assert "@import" not in text and "url(" not in text
        assert re.search(r"default-src &#39;none&#39;; img-src data:; .*script-src &#39;sha256-", text)
        ids = re.findall(r' id="([^"]*)"', text)
        assert len(set(ids)) == len(ids)


def test_two_runs_side_by_side(two):
    _, text = two
    assert "2 runs of hrnet_w18_small" in text
    (keys,) = re.findall(r'<section id="keys".*?</section>', text, re.S)
    assert "lr learning rate after warm-up 0.001 0.0003" in words(keys)
    assert re.findall(r"<code>(\w+)</code><br>", keys) == ["ckpt_save_dir", "lr"]
    (curves,) = re.findall(r'<section id="curves".*?</section>', text, re.S)
    assert curves.count("<polyline") == curves.count("<b>") == 2 * (9 + 2)
    (results,) = re.findall(r'<section id="results".*?</section>', text, re.S)
    assert results.count('<td class="n best">90.00 %') == 2  # a tie
    assert "<article" in text and part(text, "classes", run=2)


def test_without_an_evaluation_the_page_says_what_it_lacks(tmp_path, write_report):
    run = write_run(tmp_path / "run", ("a", "b"), epochs=3)
    (run / "history.jsonl").unlink()
    text = write_report([run], tmp_path / "a.html", "--evaluate", "False")
    for name in ("classes", "confusion", "calibration", "mistakes"):
        assert NOT_HERE in words(part(text, name))
    assert "The run has done 3 of 6 epochs." in words(part(text, "results"))
    assert "The data set was not read." in words(part(text, "data"))
    assert "1,437 training images, 360 validation images" in words(part(text, "data"))
    assert "command and versions are not known" in words(part(text, "environment"))


def test_predictions_without_the_images(tmp_path, write_report):
    run, names = write_run(tmp_path / "run", ("a", "b")), ("a", "b")
    answers = write_answers(tmp_path / "p.csv", names, 20)
    text = write_report([run], tmp_path / "a.html", "--predictions", answers)
    assert "The images are not here." in words(part(text, "mistakes"))
    assert "The training images cannot be shown: " in words(part(text, "data"))
    assert part(text, "classes").count("<tr>") == 3


def test_another_data_set_lends_no_pictures(tmp_path, data, names, write_report):
    run = write_run(tmp_path / "run", names)
    answers = write_answers(tmp_path / "p.csv", names, 4, right=0.0)
    text = write_report([run], tmp_path / "a.html", "--predictions", answers, "--data_dir", data)
    assert "The data set has another image in this place." in words(part(text, "mistakes"))


def test_columns_and_starts_of_later_versions(tmp_path, write_report):
    run = write_run(tmp_path / "run", ("a", "b"))
    lines = (run / "metrics.csv").read_text().splitlines()
    more = [f"{line},{cell}" for line, cell in zip(lines, ("new_one", 3, 2, "", 4, 5, 6), strict=True)]
    (run / "metrics.csv").write_text("\n".join(more) + "\n")
    (run / "steps.csv").unlink()
    (run / "history.jsonl").write_text(
        '{"when": "now", "versions": {"mindspore": "3"}, "host": "\\udcff", "unknown": [1]}\n'
    )
    text = write_report([run], tmp_path / "a.html", "--evaluate", "False")
    curves = words(part(text, "curves"))
    assert "New one" in curves and "new one: measured in 5 of 6 epochs." in curves
    assert "The folder has no steps.csv" in curves
    assert "When now Host \\udcff Versions mindspore 3" in words(part(text, "environment"))


def test_imagenet_stays_small(tmp_path, write_report):
    from mindcv_hrnet.deploy.labels import imagenet_names

    names = tuple(imagenet_names())
    run = write_run(tmp_path / "run", names, epochs=90)
    answers = write_answers(tmp_path / "p.csv", names, 50)
    begun = time.perf_counter()
    text = write_report([run], tmp_path / "a.html", "--predictions", answers)
    assert time.perf_counter() - begun < 15  # 0.7 s on two cores that have nothing else to do
    assert len(text.encode()) < 5e6
    classes = part(text, "classes")
    assert "All 1,000 classes" in words(classes) and "n01440764 tench" in classes
    confusion = part(text, "confusion")
    assert '<table class="matrix' not in confusion and confusion.count("<tr>") == 1 + 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("a,b\n1,2\n", "has not the columns and rows of predictions"),
        ("image,label,label_probability,class1,probability1\n", "has not the columns and rows"),
        (
            "image,label,label_probability,class1,probability1\nx,a,0.1,antt,0.9\n",
            r"line 2: the run has no class 'antt'",
        ),
        ("image,label,label_probability,class1,probability1\nx,a,0.1,b\n", "line 2 is damaged"),
        ("image,label,label_probability,class1,probability1\nx,a,0.1,b,1.5\n", "probabilities outside 0 to 1"),
    ],
)
def test_damaged_predictions(tmp_path, write_report, content, message):
    run = write_run(tmp_path / "run", ("a", "b"))
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        write_report([run], tmp_path / "a.html", "--predictions", tmp_path / "p.csv")
    assert not (tmp_path / "a.html").exists()


def test_what_is_refused_before_anything_is_computed(tmp_path, write_report):
    run = write_run(tmp_path / "run", ("a", "b"))
    with pytest.raises(
        DataError, match=r"no such folder, the data set of .*; pass --data_dir DIR, or --evaluate False"
    ):
        write_report([run], tmp_path / "a.html")
    with pytest.raises(RunError, match="is a folder; name the file to write"):
        write_report([run], tmp_path, "--evaluate", "False")
    with pytest.raises(RunError, match=r"a\.html: cannot be written \(no such folder\); choose another --out"):
        write_report([run], tmp_path / "none" / "a.html", "--evaluate", "False")
    with pytest.raises(ConfigError, match="evaluate: 'perhaps' is not accepted"):
        write_report([run], tmp_path / "a.html", "--evaluate", "perhaps")
    with pytest.raises(ConfigError, match="predictions: 2 files for 1 runs; pass one for each"):
        write_report([run], tmp_path / "a.html", "--predictions", "a", "b")
