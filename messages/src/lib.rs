// SPDX-License-Identifier: MPL-2.0
//! The log messages: the reader of remopts_messages.mes, whose format is the format of Kea's own
//! message compiler.
//!
//! build.rs makes the definitions and the Rust constants of it, and `make docs` the document.
//! Debian's kea-dev has no message compiler, and Rust needs constants of the messages, which Kea's
//! compiler does not write. See docs/decisions/.

use std::fmt::Write as _;

/// The file of the messages, and its path for errors.
const FILE: (&str, &str) =
    ("messages/remopts_messages.mes", include_str!("../remopts_messages.mes"));

/// One message of the file.
#[derive(Debug)]
pub struct Message {
    /// The identifier, `REMOPTS_…`.
    id: String,
    /// The text with its placeholders %1, %2, …
    text: String,
    /// The lines that tell operators what happened and what to do.
    explanation: Vec<String>,
}

impl Message {
    /// How many placeholders the text has.
    fn placeholders(&self) -> usize {
        (1..=9).take_while(|n| self.text.contains(&format!("%{n}"))).count()
    }

    /// The severity, as Kea's log writes it. The explanation begins with it.
    fn severity(&self) -> Option<&'static str> {
        let first = self.explanation.first()?;
        let severities = [
            ("This debug message ", "DEBUG"),
            ("This informational message ", "INFO"),
            ("This warning message ", "WARN"),
            ("This error message ", "ERROR"),
        ];
        severities.into_iter().find(|(begin, _)| first.starts_with(begin)).map(|(_, name)| name)
    }
}

/// Reads every message. The error says which line of the file cannot be read, or which message lacks
/// something.
pub fn all() -> Result<Vec<Message>, String> {
    let (path, text) = FILE;
    read(text).map_err(|error| format!("{path}: {error}"))
}

/// Reads the text of a message file: `% ID text` begins a message, the lines behind it explain the
/// message, `#` begins a comment and `$` a directive. The error says which line cannot be read, or
/// which message lacks something.
fn read(file: &str) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    for line in file.lines().map(str::trim_end) {
        if line.starts_with('#') || line.starts_with('$') {
            continue;
        }
        if let Some(head) = line.strip_prefix("% ") {
            let (id, text) = head.split_once(' ').ok_or_else(|| format!("no text in {line:?}"))?;
            messages.push(Message {
                id: id.to_owned(),
                text: text.to_owned(),
                explanation: Vec::new(),
            });
        } else if let Some(message) = messages.last_mut() {
            message.explanation.push(line.to_owned());
        } else if !line.is_empty() {
            return Err(format!("text before the first message: {line:?}"));
        }
    }
    for message in &mut messages {
        while message.explanation.last().is_some_and(String::is_empty) {
            message.explanation.pop();
        }
        if !message.id.starts_with("REMOPTS_") || message.explanation.is_empty() {
            return Err(format!("{} must begin with REMOPTS_ and have an explanation", message.id));
        }
    }
    match messages.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        Some(pair) => Err(format!("{} must come before {}", pair[1].id, pair[0].id)),
        None => Ok(messages),
    }
}

/// The Rust constants that src/log.rs includes: `pub const ID: Message<N>`, with N placeholders.
pub fn rust(messages: &[Message]) -> String {
    let mut code = String::new();
    for message in messages {
        let Message { id, text, explanation } = message;
        let placeholders = message.placeholders();
        let _ = writeln!(code, "/// `{text}`\n///");
        for line in explanation {
            let _ = writeln!(code, "/// {line}");
        }
        let _ = writeln!(code, "pub const {id}: Message<{placeholders}> = Message::new({id:?});\n");
    }
    code
}

/// The array that shim/log.cc includes, where Kea's logger finds the messages: identifiers and
/// texts in turn.
pub fn cxx(messages: &[Message]) -> String {
    let mut code = String::from("const char* definitions[] = {\n");
    for Message { id, text, .. } in messages {
        let _ = writeln!(code, "    {id:?}, {text:?},");
    }
    code.push_str("    nullptr};\n");
    code
}

/// The document of the messages, docs/messages.md, in the form of Kea's messages manual.
pub fn markdown(messages: &[Message]) -> String {
    let mut page = String::from(
        "<!-- SPDX-License-Identifier: MPL-2.0 -->\n\
         <!-- `make docs` writes this page of messages/remopts_messages.mes. Change the messages \
         there. -->\n\
         # Messages\n\n\
         Every message of the hook library, as it stands in Kea's log, with what it means and what \
         to do.\n\
         All come from Kea's logger `remote-opts-hooks`. `%1`, `%2` and so on stand for the \
         arguments. A\n\
         DEBUG message shows at debug level 40: [operating.md](operating.md#the-log) says how to \
         turn it\n\
         on.\n",
    );
    for (severity, meaning) in [
        (Some("ERROR"), "something is broken"),
        (Some("WARN"), "somebody should look, and clients may get less than they should"),
        (Some("INFO"), "something has changed"),
        (Some("DEBUG"), "what became of one packet"),
        (None, "passed on from another program"),
    ] {
        let ids = messages.iter().filter(|message| message.severity() == severity);
        let links = ids.map(|Message { id, .. }| format!("- [{id}](#{})\n", id.to_lowercase()));
        let severity = severity.unwrap_or("Any severity");
        let _ = write!(page, "\n**{severity}**: {meaning}\n\n{}", links.collect::<String>());
    }
    for message in messages {
        let Message { id, text, explanation } = message;
        let severity = message.severity().map(|name| format!("Severity: {name}.\n\n"));
        let (severity, explanation) = (severity.unwrap_or_default(), explanation.join("\n"));
        let _ = write!(page, "\n## {id}\n\n    {text}\n\n{severity}{explanation}\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# A comment.\n$NAMESPACE a\n\n\
                        % REMOPTS_A all of \"%1\" is %2\nOne line.\n\nAnother line.\n\n\
                        % REMOPTS_B nothing\nOne line.\n";

    #[test]
    fn a_message_has_a_text_placeholders_and_an_explanation() {
        let messages = read(FILE).unwrap();
        assert_eq!(messages.iter().map(Message::placeholders).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(messages[0].explanation, ["One line.", "", "Another line."]);
        let rust = rust(&messages);
        assert!(
            rust.contains("pub const REMOPTS_A: Message<2> = Message::new(\"REMOPTS_A\");"),
            "{rust}"
        );
        let cxx = cxx(&messages);
        assert!(cxx.contains("\"REMOPTS_A\", \"all of \\\"%1\\\" is %2\","), "{cxx}");
        assert!(cxx.ends_with("nullptr};\n"), "{cxx}");
    }

    #[test]
    fn the_document_has_each_message_with_text_severity_and_explanation() {
        let file = "% REMOPTS_A one %1\nThis warning message is issued.\n\n\
                    % REMOPTS_B two\nThis message passes on.\n";
        let page = markdown(&read(file).unwrap());
        let first = "\n## REMOPTS_A\n\n    one %1\n\nSeverity: WARN.\n\n\
                     This warning message is issued.\n";
        let second = "\n## REMOPTS_B\n\n    two\n\nThis message passes on.\n";
        assert!(page.ends_with(&format!("{first}{second}")), "{page}");
        assert!(page.contains("\n**WARN**: ") && page.contains("- [REMOPTS_A](#remopts_a)\n"));
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        for (file, expected) in [
            ("% REMOPTS_A\nOne line.\n", "no text"),
            ("One line.\n", "before the first message"),
            ("% REMOPTS_A text\n\n", "REMOPTS_A must"),
            ("% OTHER_A text\nOne line.\n", "OTHER_A must"),
            ("% REMOPTS_B b\nOne line.\n% REMOPTS_A a\nOne line.\n", "REMOPTS_B"),
            ("% REMOPTS_A a\nOne line.\n% REMOPTS_A a\nOne line.\n", "REMOPTS_A"),
        ] {
            let error = read(file).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
