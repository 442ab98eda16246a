//! nginx's syntax: directives with arguments, and blocks of them.

use std::cell::Cell;
use std::iter::Peekable;
use std::str::Chars;

use crate::import::{ImportError, NESTING_MAX};

/// A directive, with its block if it has one.
#[derive(Debug, Default)]
pub(super) struct Directive {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    used: Cell<bool>,
}

impl Directive {
    /// A directive that nobody wrote.
    pub(super) fn new(line: usize, name: &str, arg: &str) -> Self {
        Self { line, name: name.to_owned(), args: vec![arg.to_owned()], ..Self::default() }
    }

    /// The first argument, or nothing.
    pub(super) fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// Its block, empty when it has none.
    pub(super) fn block(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The value of `KEY=VALUE` among its arguments.
    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.args.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
    }

    /// Whether an argument is there as it is.
    pub(super) fn has(&self, word: &str) -> bool {
        self.args.iter().any(|arg| arg == word)
    }

    /// It was dealt with; what is in its block was not.
    pub(super) fn settle(&self) {
        self.used.set(true);
    }

    /// It was dealt with, and everything in it.
    pub(super) fn settle_all(&self) {
        self.settle();
        self.block().iter().for_each(Self::settle_all);
    }

    /// Whether it was dealt with.
    pub(super) fn is_settled(&self) -> bool {
        self.used.get()
    }

    /// As it is written, without its block.
    pub(super) fn text(&self) -> String {
        let mut text = self.name.clone();
        for arg in &self.args {
            text.push(' ');
            text.push_str(arg);
        }
        text
    }
}

/// Reads a text.
///
/// # Errors
/// The first place where it is not nginx's syntax.
pub(super) fn parse(text: &str) -> Result<Vec<Directive>, ImportError> {
    let mut source = Source { rest: text.chars().peekable(), line: 1, column: 1 };
    block(&mut source, 0)
}

fn block(source: &mut Source<'_>, depth: usize) -> Result<Vec<Directive>, ImportError> {
    if depth > NESTING_MAX {
        return Err(source.error(format!("more than {NESTING_MAX} levels")));
    }
    let (line, column) = (source.line, source.column);
    let mut directives = Vec::new();
    let mut current: Option<Directive> = None;
    loop {
        let place = source.skip_space();
        match source.token()? {
            Token::Word(word) => match &mut current {
                Some(directive) => directive.args.push(word),
                None => current = Some(Directive { line: place.0, name: word, ..Directive::default() }),
            },
            Token::Semicolon => match current.take() {
                Some(directive) => directives.push(directive),
                None => return Err(ImportError::new(place.0, place.1, "a semicolon without a directive")),
            },
            Token::Open => match current.take() {
                Some(mut directive) => {
                    directive.block = Some(block(source, depth + 1)?);
                    directives.push(directive);
                }
                None => return Err(ImportError::new(place.0, place.1, "a block without a name")),
            },
            Token::Close | Token::End if current.is_some() => {
                let name = current.map(|directive| directive.name).unwrap_or_default();
                return Err(ImportError::new(
                    place.0,
                    place.1,
                    format!("{name:?} does not end with a semicolon"),
                ));
            }
            Token::Close if depth > 0 => return Ok(directives),
            Token::Close => {
                return Err(ImportError::new(place.0, place.1, "a brace closes what none opened"));
            }
            Token::End if depth == 0 => return Ok(directives),
            Token::End => {
                return Err(ImportError::new(line, column, "a brace opens a block that does not end"));
            }
        }
    }
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
}

struct Source<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl Source<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn error(&self, problem: impl AsRef<str>) -> ImportError {
        ImportError::new(self.line, self.column, problem)
    }

    /// Goes over spaces and comments; the place after them.
    fn skip_space(&mut self) -> (usize, usize) {
        while let Some(c) = self.rest.peek() {
            if *c == '#' {
                while self.next().is_some_and(|c| c != '\n') {}
            } else if c.is_whitespace() {
                self.next();
            } else {
                break;
            }
        }
        (self.line, self.column)
    }

    fn token(&mut self) -> Result<Token, ImportError> {
        Ok(match self.rest.peek() {
            None => Token::End,
            Some(c @ (';' | '{' | '}')) => {
                let token = match c {
                    ';' => Token::Semicolon,
                    '{' => Token::Open,
                    _ => Token::Close,
                };
                self.next();
                token
            }
            Some(quote @ ('"' | '\'')) => {
                let quote = *quote;
                Token::Word(self.quoted(quote)?)
            }
            Some(_) => Token::Word(self.word()),
        })
    }

    fn quoted(&mut self, quote: char) -> Result<String, ImportError> {
        let open = self.error("a quote opens a text that does not end");
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(open),
                Some(c) if c == quote => return Ok(text),
                Some('\\') => self.escape(&mut text),
                Some(c) => text.push(c),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.rest.peek().copied() {
            match c {
                // `${name}` is a variable, not a block.
                '{' if text.ends_with('$') => {
                    while let Some(c) = self.next() {
                        text.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                    continue;
                }
                ';' | '{' => break,
                c if c.is_whitespace() => break,
                _ => {}
            }
            self.next();
            if c == '\\' { self.escape(&mut text) } else { text.push(c) }
        }
        text
    }

    /// What follows a backslash. Only quotes and backslashes lose the one before them: regular expressions keep theirs.
    fn escape(&mut self, text: &mut String) {
        match self.next() {
            Some(c @ ('"' | '\'' | '\\')) => text.push(c),
            Some(c) => text.extend(['\\', c]),
            None => text.push('\\'),
        }
    }
}
