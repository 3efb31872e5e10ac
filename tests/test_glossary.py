"""The glossary holds the terms of the tools that users come from, each explained and placed."""

from __future__ import annotations

import re

import pytest

from cytoloop.glossary import Term, find_term, terms


@pytest.mark.parametrize(
    "name",
    [
        # the glossary of the Segmenter ML plugin
        *("Batch", "Cost Function", "Epoch", "Excluding mask", "Image dimension", "Inference"),
        *(
            "Learning rate",
            "Loss value",
            "Merging mask",
            "Model size",
            "Model weights",
            "Raw image",
        ),
        *("Patch size", "Probability map image", "Seg1", "Seg2", "Segmentation model"),
        *("Threshold_otsu", "Thresholded binary image", "Thresholding value"),
        # and of other tools
        *("base image", "sorting", "Dice", "panoptic quality", "Otsu", "number of layers"),
    ],
)
def test_a_term_of_another_tool_is_found(name: str) -> None:
    assert find_term(name) is not None


def test_no_name_is_used_twice_and_an_unknown_one_is_not_found() -> None:
    names = [name.casefold() for term in terms() for name in (term.name, *term.also)]
    assert len(names) == len(set(names))
    assert find_term("flux capacitor") is None


@pytest.mark.parametrize("term", terms(), ids=lambda term: term.name)
def test_a_term_has_two_sentences_and_a_place(term: Term) -> None:
    sentences = [text for text in re.split(r"(?<=[.!?])\s+", term.text) if text]
    assert len(sentences) == 2, term.text
    assert all(len(sentence.split()) <= 30 for sentence in sentences)
    assert term.where
