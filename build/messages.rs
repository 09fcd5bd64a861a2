// SPDX-License-Identifier: MPL-2.0
//! The reader of the message file messages/remopts_messages.mes, whose format is the format of
//! Kea's own message compiler.
//!
//! build.rs calls it. Debian's kea-dev has no message compiler, and Rust needs constants of the
//! messages, which Kea's compiler does not write. See docs/decisions/.

use std::fmt::Write as _;

/// One message of the file.
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
}

/// Reads the text of a message file: `% ID text` begins a message, the lines behind it explain the
/// message, `#` begins a comment and `$` a directive. The error says which line cannot be read, or
/// which message lacks something.
pub fn read(file: &str) -> Result<Vec<Message>, String> {
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
