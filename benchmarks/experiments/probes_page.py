"""Section of the results page on how far small probes agree with an ImageNet probe."""

from arms_page import markdown_table
from probes import DISTILLED, IMAGES, LEFT_OUT_ROW, PROBES, SHIPPED, STEPS

_WORDS = {
    SHIPPED: "shipped: trained on labels of all six sets",
    LEFT_OUT_ROW: "distilled, without the set that asks and another one",
    DISTILLED: "distilled from all six sets",
}


def section() -> str:
    """Return the section; empty before anything is measured."""
    found = PROBES.summary(PROBES.finished())
    if not found:
        return ""
    rows = [
        [
            words,
            f"{found[key]['rank_correlation']:.2f}",
            f"{found[key]['by_task']:.2f}",
            f"{round(found[key]['nearest'] * found[key]['tasks'])} of {found[key]['tasks']}",
        ]
        for key, words in _WORDS.items()
        if key in found
    ]
    table = markdown_table(
        ["probe", "correlation, all distances", "from one task", "nearest of the same set"], rows
    )
    return f"""## Distilled probes

Would another small probe judge tasks more like an ImageNet network does? The shipped probe's
network was trained anew, for {STEPS:,} steps, to predict the features and logits of such a network
(MobileNetV2, at 128×128) on augmented images of the train parts of the six sets, without their
labels. Three such probes saw four sets each and judge the tasks of the other two; a fourth one
saw all six.

Five subsets of the classes of each set, at most {IMAGES} images each, are embedded by every probe.
Compared with the ImageNet network, between tasks of different sets: the rank correlation of all
distances; the mean rank correlation of the distances from one task; and how many tasks have their
nearest one in the same set by both.

{table}

A distilled probe agrees better, but [chooses no better sources](#what-predicts-the-best-source), so
the shipped probe is not replaced ([why](decisions/distilled-probes.md)).

`python benchmarks/experiments run probes` measures this, `table probes` gives the figures."""
