//! The `a::b::c` paths that code mentions, with `use` trees written out.

/// A path as the code names it, without generic arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathUse {
    /// Counted from 1.
    pub(crate) line: usize,
    /// `std::net::TcpStream::connect`; a glob import ends in `*`.
    pub(crate) path: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Separator,
    Open,
    Close,
    Comma,
    Star,
    End,
    Other,
}

/// Every path of at least two segments. `use a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) fn paths(code: &str) -> Vec<PathUse> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((line, token)) = tokens.get(at) {
        at = match token {
            // `use<'a>` in a return type captures lifetimes; it imports nothing.
            Token::Word("use") if matches!(tokens.get(at + 1), Some((_, Token::Other))) => at + 1,
            Token::Word("use") => use_tree(&tokens, at + 1, &mut Vec::new(), &mut found),
            Token::Word(word) => plain(&tokens, at, *line, word, &mut found),
            _ => at + 1,
        };
    }
    found
}

type Tokens<'a> = [(usize, Token<'a>)];

fn plain(tokens: &Tokens<'_>, mut at: usize, line: usize, first: &str, found: &mut Vec<PathUse>) -> usize {
    let mut path = vec![first];
    while let (Some((_, Token::Separator)), Some((_, Token::Word(word)))) =
        (tokens.get(at + 1), tokens.get(at + 2))
    {
        path.push(word);
        at += 2;
    }
    if path.len() > 1 {
        found.push(PathUse { line, path: path.join("::") });
    }
    at + 1
}

/// Reads one branch of a `use` tree and returns where it ends: at a comma, a closing brace or the semicolon.
fn use_tree<'a>(
    tokens: &Tokens<'a>,
    mut at: usize,
    prefix: &mut Vec<&'a str>,
    found: &mut Vec<PathUse>,
) -> usize {
    let depth = prefix.len();
    let mut line = 0;
    let mut renamed = false;
    while let Some((here, token)) = tokens.get(at) {
        match token {
            Token::Word("as") => renamed = true,
            Token::Word(_) if renamed => {}
            Token::Word(word) => {
                line = *here;
                prefix.push(word);
            }
            Token::Star => {
                line = *here;
                prefix.push("*");
            }
            Token::Open => {
                at += 1;
                while !matches!(tokens.get(at), None | Some((_, Token::Close | Token::End))) {
                    at = use_tree(tokens, at, prefix, found);
                    if matches!(tokens.get(at), Some((_, Token::Comma))) {
                        at += 1;
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            Token::Separator | Token::Other => {}
            Token::Comma | Token::Close | Token::End => break,
        }
        at += 1;
    }
    if prefix.len() > depth && prefix.len() > 1 {
        found.push(PathUse { line, path: prefix.join("::") });
    }
    prefix.truncate(depth);
    // The semicolon is left where it is: the caller treats it as any other token.
    at.max(1)
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    for (number, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (token, length) = match first {
                _ if word > 0 => (Token::Word(rest.get(..word).unwrap_or_default()), word),
                ':' if rest.starts_with("::") => (Token::Separator, 2),
                '{' => (Token::Open, 1),
                '}' => (Token::Close, 1),
                ',' => (Token::Comma, 1),
                '*' => (Token::Star, 1),
                ';' => (Token::End, 1),
                _ => (Token::Other, first.len_utf8()),
            };
            tokens.push((number + 1, token));
            rest = rest.get(length..).unwrap_or_default().trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, expected: &[(usize, &str)]) {
        let found: Vec<_> = paths(code).into_iter().map(|found| (found.line, found.path)).collect();
        let expected: Vec<_> = expected.iter().map(|(line, path)| (*line, (*path).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn plain_paths_are_found_with_their_line() {
        check("fn a() {\n  std::env::var(x)?; b::<C>::d();\n}", &[(2, "std::env::var")]);
    }

    #[test]
    fn a_path_may_continue_on_the_next_line() {
        check("tokio\n  ::net\n  ::TcpStream::connect(a)", &[(1, "tokio::net::TcpStream::connect")]);
    }

    #[test]
    fn use_trees_are_written_out() {
        check(
            "use std::{\n  net::{SocketAddr, TcpStream as Stream},\n  io,\n};\nuse a::b;\npub use c::*;\nd::e();",
            &[
                (2, "std::net::SocketAddr"),
                (2, "std::net::TcpStream"),
                (3, "std::io"),
                (5, "a::b"),
                (6, "c::*"),
                (7, "d::e"),
            ],
        );
    }

    #[test]
    fn captured_lifetimes_are_not_imports() {
        check("fn a<'b>() -> impl C + use<'b> { d::e() }", &[(1, "d::e")]);
    }

    #[test]
    fn an_unfinished_use_does_not_loop() {
        check("use a::{b, c", &[(1, "a::b"), (1, "a::c")]);
    }
}
