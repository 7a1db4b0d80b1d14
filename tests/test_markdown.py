"""Names and sentences in Markdown are shown as they are, whatever is in them."""

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from defectfill.io.markdown import code, plain

NAMES = st.text(alphabet="ab1_*`|<>&[]()!:/\\\\#~.;- \n", min_size=1, max_size=30).filter(str.strip)


def shown(markdown: str) -> tuple[set[str], str]:
    """Return the kinds of what a table's only cell holds, and its text."""
    table = MarkdownIt("commonmark").enable("table").parse(f"| {markdown} | end |\n| --- | --- |\n")
    first, last = (token for token in table if token.type == "inline")
    assert last.content == "end"
    return {child.type for child in first.children or ()}, "".join(child.content for child in first.children or ())


@given(NAMES)
@example("![x](javascript:y)")
@example("a_b _c_ <img src=x onerror=y> a|b &lt;")
def test_a_name_is_shown_as_it_is(name: str) -> None:
    assert shown(plain(name)) == ({"text"}, " ".join(name.split()))


@given(NAMES.map(lambda name: " ".join(name.replace("|", "").split())).filter(bool))
def test_a_path_is_one_code_span(path: str) -> None:
    (span,) = MarkdownIt("commonmark").parseInline(code(path))[0].children or ()
    assert (span.type, span.content) == ("code_inline", path)
