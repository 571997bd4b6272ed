"""Three hundred texts that try to act: markup, scripts, templates, control characters, long words."""

from __future__ import annotations

import json

import polars as pl

__all__ = ["HOSTILE", "hostile_conversations"]

_SEEDS = (
    *("</script><script>window.hit=1</script>", "<img src=x onerror=window.hit=1>", "<svg/onload=window.hit=1>"),
    *(
        "<!--<script>",
        "]]>",
        "</style><style>*{display:none}",
        "</title><title>hit",
        "</textarea><b>",
        "<base href=//x>",
    ),
    *("{{7*7}}", "{% raw %}", "{#", "${window.hit=1}", "#{1}", "<%= 1 %>", "%s%n%x", "$\\frac{1}{0}$", "\\input{x}"),
    *('"', "'", '" onmouseover="window.hit=1', "' autofocus onfocus='window.hit=1", "`", "\\", "\\u003cscript\\u003e"),
    *(
        "javascript:window.hit=1",
        "data:text/html,<script>window.hit=1</script>",
        "[a](javascript:window.hit=1)",
        "**b**",
    ),
    *("# heading", "| a | b |", "<details open ontoggle=window.hit=1>", "&lt;b&gt;", "&#60;script&#62;", "&", "<", ">"),
    *("\x1b[31mred\x1b[0m", "\x1b]0;hit\x07", "\x00", "\x07", "\x7f", "\r\nSet-Cookie: a", "\u2028", "\u2029", "\x85"),
    *("\u202eevil", "\u2066x\u2069", "\u200b", "\ufeff", "\u00ad", "a\u0301" * 40, "\U000e0041", "\ue000", "\ufdd0"),
    *(
        "W" * 3000,
        "字" * 500,
        "a" * 200 + " " + "b" * 200,
        "\t" * 50,
        "\n" * 50,
        " ",
        "",
        "=1+1",
        "@SUM(1)",
        "-1",
        "+1",
    ),
    *(
        "\ud800",
        "x\udfffy",
        "null",
        "undefined",
        "NaN",
        "__proto__",
        "constructor",
        "toString",
        "true",
        "0",
        "1e999",
        "../../etc/passwd",
    ),
)


def _made() -> tuple[str, ...]:
    texts = list(_SEEDS)
    for at in range(300 - len(_SEEDS)):  # pairs, so that one begins inside another
        one, other = _SEEDS[at % len(_SEEDS)], _SEEDS[(7 * at + 3) % len(_SEEDS)]
        texts.append(f"{one[:400]}{other[:400]}")
    return tuple(texts)


HOSTILE = _made()
"""Always the same 300."""


def hostile_conversations() -> pl.DataFrame:
    """Return a conversation per text that has it in every field."""
    return pl.DataFrame(
        [
            {"id": f"{at}-{text}", "dataset": text, "behaviour": text, "behavior_label": at % 2, "label_source": text}
            | {"label_reason": text, "reason": text, "answer": text, "score: mean log-probability": -1.0}
            | {"messages": json.dumps([{"role": text, "content": text}]), "tokens": [text, text]}
            | {"token: activity “lying”": [0.5, None]}
            for at, text in enumerate(
                one.encode("utf-8", "replace").decode() for one in HOSTILE
            )  # as polars holds them
        ],
        schema_overrides={"behavior_label": pl.Int8},
    )
