"""Reading what a widget puts on a page."""

from collections import Counter
from html.parser import HTMLParser


class Page(HTMLParser):
    """Balanced tags, how often each occurs, and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.tags = [], [], Counter()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags[tag] += 1
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def channels(colour):
    """Red, green and blue in 0..255 of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    return [int(digits[i : i + 2], 16) for i in (0, 2, 4)]


def luminance(rgb):
    """Relative luminance as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def blend(top, ground, share):
    return [share * a + (1 - share) * b for a, b in zip(top, ground, strict=True)]


def contrast(one, other):
    """Of two colours, from 1 (the same) to 21 (black on white)."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)
