//! Rust text, read as far as the rules need it. It is formatted by rustfmt, which makes a line-wise
//! reading good enough.

/// The name of the function whose signature begins on this line.
pub(crate) fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(signature) = rest.strip_prefix("fn ") {
            return signature.split(['(', '<']).next();
        }
        let (modifier, after) = rest.split_once(' ')?;
        let known = ["async", "const", "unsafe", "extern", "\"C\""].contains(&modifier);
        if !known && !modifier.starts_with("pub") {
            return None;
        }
        rest = after;
    }
}

/// Whether the word stands in the line, alone: not as a part of a longer word.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

/// The code that ships: before the file's test module, without comment lines.
pub(crate) fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// All paths of the code that begin with `root::`, without that beginning; the braces of a `use` are
/// multiplied out.
pub(crate) fn paths_below(code: &str, root: &str) -> Vec<Vec<String>> {
    let start = format!("{root}::");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        expand(&code[at + start.len()..], &mut Vec::new(), &mut paths);
    }
    paths
}

/// Reads one path from the text's start, adds all that it stands for to `paths` and gives the rest.
fn expand<'a>(
    mut text: &'a str,
    prefix: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> &'a str {
    let depth = prefix.len();
    loop {
        text = text.trim_start();
        if let Some(mut list) = text.strip_prefix('{') {
            loop {
                list = list.trim_start_matches([',', ' ', '\n']);
                if let Some(rest) = list.strip_prefix('}') {
                    prefix.truncate(depth);
                    return rest;
                }
                let rest = expand(list, prefix, paths);
                if rest.len() == list.len() {
                    prefix.truncate(depth);
                    return rest;
                }
                // Behind `as name` or an attribute the list goes on at its next comma or end.
                list = rest.find([',', '}']).map_or("", |end| &rest[end..]);
            }
        }
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
            .unwrap_or(text.len());
        prefix.push(text[..end].to_owned());
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) => text = rest,
            None => break,
        }
    }
    paths.push(prefix.clone());
    prefix.truncate(depth);
    text
}

#[test]
fn braces_of_a_use_are_multiplied_out() {
    let code =
        "use crate::{\n    a::{b, c::D as E},\n    f,\n};\nlet x = crate::g::h(1); mycrate::i;";
    let paths: Vec<String> = paths_below(code, "crate")
        .iter()
        .map(|p| p.join("::"))
        .collect();
    assert_eq!(paths, ["a::b", "a::c::D", "f", "g::h"]);
}

#[test]
fn test_modules_and_comments_do_not_ship() {
    let text = "//! crate::a\nuse crate::b;\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\n";
    assert_eq!(shipped(text), "use crate::b;\n");
}
