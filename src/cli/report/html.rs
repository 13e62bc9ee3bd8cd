//! Markup: text that becomes HTML. Only what stands in this program's source goes in as it is;
//! everything else, a judge's name as much as a number, is escaped on its way.

use std::fmt::Display;

/// HTML that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(String);

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// What it says.
    pub(super) words: String,
    /// What it adds quietly: an interval, an n.
    pub(super) quiet: String,
    /// Whether it says little: greyed.
    pub(super) is_thin: bool,
}

impl Cell {
    pub(super) fn of(words: impl Into<String>, quiet: impl Into<String>) -> Self {
        Self { words: words.into(), quiet: quiet.into(), is_thin: false }
    }

    /// The same, greyed where `is_thin`.
    pub(super) fn thin(self, is_thin: bool) -> Self {
        Self { is_thin, ..self }
    }

    /// Nothing to tell.
    pub(super) fn none() -> Self {
        Self::of("", "\u{2013}")
    }
}

impl Html {
    /// Markup of our own.
    pub(super) fn mark(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Words of anybody, escaped.
    pub(super) fn say(&mut self, words: impl Display) -> &mut Self {
        for one in words.to_string().chars() {
            match one {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// Code or JSON that must not end its own element: `<` cannot stand in it.
    ///
    /// In JSON and in a script's strings an escaped `<` is the same text; code and style sheets of
    /// this program hold no closing tag, which a test sees to.
    pub(super) fn inline(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    /// A table; the first cell of a row names it, the others are numbers.
    pub(super) fn table(&mut self, heads: &[&str], rows: &[Vec<Cell>]) -> &mut Self {
        // what is wider than the page is moved by keys too
        self.mark("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
        self.say(heads.join(", ")).mark("\"><table><thead><tr>");
        for (at, head) in heads.iter().enumerate() {
            self.mark(if at == 0 {
                "<th scope=\"col\">"
            } else {
                "<th scope=\"col\" class=\"num\">"
            });
            self.say(head).mark("</th>");
        }
        self.mark("</tr></thead><tbody>");
        for row in rows {
            self.mark("<tr>");
            for (at, cell) in row.iter().enumerate() {
                self.cell(at == 0, cell);
            }
            self.mark("</tr>\n");
        }
        self.mark("</tbody></table></div>\n")
    }

    fn cell(&mut self, is_head: bool, cell: &Cell) {
        self.mark(match (is_head, cell.is_thin) {
            (true, _) => "<th scope=\"row\">",
            (false, true) => "<td class=\"num thin\">",
            (false, false) => "<td class=\"num\">",
        });
        self.say(&cell.words);
        if !cell.quiet.is_empty() {
            self.mark(" <span class=\"q\">").say(&cell.quiet).mark("</span>");
        }
        self.mark(if is_head { "</th>" } else { "</td>" });
    }

    /// The text.
    pub(super) fn done(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_says_is_never_markup() {
        let mut html = Html::default();
        html.mark("<p>").say("<script>alert(\"1\" & '2')</script>").mark("</p>");
        html.table(&["who"], &[vec![Cell::of("<b>", "<i>").thin(true)]]);
        let text = html.done();
        assert!(!text.contains("<script") && !text.contains("<b>") && !text.contains("<i>"));
        assert!(text.starts_with(
            "<p>&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;</p>"
        ));
    }
}
