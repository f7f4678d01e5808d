//! The language of gates: `expr CMP expr`, where an expr is made of metrics, numbers, `+`, `-`, `*` and parentheses.
//! Knows the text and what it means; knows no values and no verdicts.

use std::fmt;

use crate::split_reference;

/// What stands before a metric of an earlier run.
pub(crate) const BASELINE: &str = "baseline";

/// Longest text of a gate, in bytes.
const LONGEST: usize = 2000;
/// Deepest nesting of parentheses and signs, so that a hostile text cannot exhaust the stack.
const DEEPEST: usize = 50;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }

    /// Whether it holds for every difference of left and right in an interval, or for none; `None` where for some.
    /// That two numbers are equal is never shown by an interval, only that they differ.
    pub(super) fn holds_within(self, [low, high]: [f64; 2]) -> Option<bool> {
        let (all, none) = match self {
            Self::Less => (high < 0.0, low >= 0.0),
            Self::LessOrEqual => (high <= 0.0, low > 0.0),
            Self::Greater => (low > 0.0, high <= 0.0),
            Self::GreaterOrEqual => (low >= 0.0, high < 0.0),
            Self::Equal => (false, low > 0.0 || high < 0.0),
            Self::NotEqual => (low > 0.0 || high < 0.0, false),
        };
        match (all, none) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// Whether it asks for equality or its opposite.
    pub(super) fn is_about_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        })
    }
}

/// Of which run a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// Of the run that is judged.
    Own,
    /// Of the earlier run that it is compared with.
    Baseline,
}

/// A metric as a gate names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) whose: Whose,
    pub(super) stage: String,
    pub(super) metric: String,
}

impl Name {
    /// Reads `STAGE.METRIC` or `baseline.STAGE.METRIC`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (first, rest) = split_reference(text).ok_or("a metric is `stage.metric`")?;
        let (whose, stage, metric) = if first == BASELINE {
            let expected = "`baseline` stands for an earlier run: write `baseline.stage.metric`";
            let (stage, metric) = split_reference(rest).ok_or(expected)?;
            (Whose::Baseline, stage, metric)
        } else {
            (Whose::Own, first, rest)
        };
        Ok(Self { whose, stage: stage.into(), metric: metric.into() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whose == Whose::Baseline {
            write!(f, "{BASELINE}.")?;
        }
        write!(f, "{}.{}", self.stage, self.metric)
    }
}

/// One side of a gate.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(f64),
    Metric(Name),
    Negative(Box<Expr>),
    /// Terms in the order written.
    Sum(Vec<(Sign, Expr)>),
    /// Factors in the order written.
    Product(Vec<Expr>),
}

/// Whether a term is added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

impl Expr {
    /// Calls `visit` with every metric, left to right.
    pub(super) fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Name)) {
        match self {
            Self::Number(_) => {}
            Self::Metric(name) => visit(name),
            Self::Negative(inner) => inner.visit(visit),
            Self::Sum(terms) => terms.iter().for_each(|(_, term)| term.visit(visit)),
            Self::Product(factors) => factors.iter().for_each(|factor| factor.visit(visit)),
        }
    }
}

/// Why a text is not a gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GateError {
    /// What is wrong.
    pub message: String,
    /// Where, in characters from the start of the text.
    pub start: usize,
    /// How many characters are wrong; at least 1.
    pub length: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Metric(String),
    Plus,
    Minus,
    Times,
    Open,
    Close,
    Compare(Comparison),
}

struct Spot {
    token: Token,
    start: usize,
    length: usize,
}

/// Reads `left CMP right`.
pub(super) fn parse(text: &str) -> Result<(Expr, Comparison, Expr), GateError> {
    if text.len() > LONGEST {
        let message = format!("a gate has at most {LONGEST} bytes");
        return Err(GateError { message, start: 0, length: 1 });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, end: text.chars().count() };
    let left = parser.sum()?;
    let comparison = match parser.next() {
        Some(Spot { token: Token::Compare(comparison), .. }) => *comparison,
        _ => return Err(parser.wrong_before("expected a comparison: `<`, `<=`, `>`, `>=`, `==` or `!=`")),
    };
    let right = parser.sum()?;
    match parser.peek() {
        None => Ok((left, comparison, right)),
        Some(Token::Compare(_)) => Err(parser.wrong("a gate compares once: write two gates")),
        Some(_) => Err(parser.wrong("expected the end, `+`, `-` or `*`")),
    }
}

fn tokens(text: &str) -> Result<Vec<Spot>, GateError> {
    let chars: Vec<char> = text.chars().collect();
    let char_at = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut spots = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let (token, length) = match (char_at(at), char_at(at + 1)) {
            (c, _) if c.is_whitespace() => {
                at += 1;
                continue;
            }
            ('<', '=') => (Token::Compare(Comparison::LessOrEqual), 2),
            ('>', '=') => (Token::Compare(Comparison::GreaterOrEqual), 2),
            ('=', '=') => (Token::Compare(Comparison::Equal), 2),
            ('!', '=') => (Token::Compare(Comparison::NotEqual), 2),
            ('<', _) => (Token::Compare(Comparison::Less), 1),
            ('>', _) => (Token::Compare(Comparison::Greater), 1),
            ('≤', _) => (Token::Compare(Comparison::LessOrEqual), 1),
            ('≥', _) => (Token::Compare(Comparison::GreaterOrEqual), 1),
            ('+', _) => (Token::Plus, 1),
            ('-' | '−', _) => (Token::Minus, 1),
            ('*' | '×', _) => (Token::Times, 1),
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            (c, next) if c.is_ascii_digit() || (c == '.' && next.is_ascii_digit()) => {
                let length = number_length(&chars, at);
                let written: String = chars.iter().skip(at).take(length).collect();
                match written.parse::<f64>() {
                    Ok(number) if number.is_finite() => (Token::Number(number), length),
                    _ => return Err(wrong_at(format!("`{written}` is not a number"), at, length)),
                }
            }
            (c, _) if c.is_ascii_alphabetic() || c == '_' => {
                let length = metric_length(&chars, at);
                (Token::Metric(chars.iter().skip(at).take(length).collect()), length)
            }
            ('=', _) => return Err(wrong_at("write `==`".into(), at, 1)),
            ('%', _) => return Err(wrong_at("leave out units: metrics are plain numbers".into(), at, 1)),
            (c, _) => return Err(wrong_at(format!("`{}` does not belong here", c.escape_debug()), at, 1)),
        };
        at += length;
        spots.push(Spot { token, start, length });
    }
    Ok(spots)
}

/// Digits with at most one point, then an exponent where there is one.
fn number_length(chars: &[char], start: usize) -> usize {
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut at = start;
    while is_digit(at) || chars.get(at) == Some(&'.') {
        at += 1;
    }
    if matches!(chars.get(at), Some('e' | 'E')) {
        let signed = usize::from(matches!(chars.get(at + 1), Some('+' | '-')));
        if is_digit(at + 1 + signed) {
            at += 1 + signed;
            while is_digit(at) {
                at += 1;
            }
        }
    }
    at - start
}

/// Letters, digits, `_` and `.`; also `-` between two of them, because names may hold it; and the values of a variant,
/// up to the bracket that ends them.
fn metric_length(chars: &[char], start: usize) -> usize {
    let is_part = |at: usize| chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_');
    let mut at = start;
    loop {
        if is_part(at) || (matches!(chars.get(at), Some('.' | '-')) && is_part(at + 1)) {
            at += 1;
        } else if chars.get(at) == Some(&'[') {
            match chars.iter().skip(at).position(|c| *c == ']') {
                Some(length) => at += length + 1,
                None => break,
            }
        } else {
            break;
        }
    }
    at - start
}

/// `text` with another stage in each metric for which `rename` knows one.
pub(super) fn renamed(text: &str, rename: &dyn Fn(&str) -> Option<String>) -> Result<String, GateError> {
    let chars: Vec<char> = text.chars().collect();
    let mut changed = String::with_capacity(text.len());
    let mut at = 0;
    for Spot { token, start, length } in tokens(text)? {
        if let Token::Metric(text) = &token
            && let Ok(name) = Name::parse(text)
            && let Some(stage) = rename(&name.stage)
        {
            changed.extend(chars.iter().take(start).skip(at));
            changed.push_str(&Name { stage, ..name }.to_string());
            at = start + length;
        }
    }
    changed.extend(chars.iter().skip(at));
    Ok(changed)
}

fn wrong_at(message: String, start: usize, length: usize) -> GateError {
    GateError { message, start, length: length.max(1) }
}

struct Parser {
    tokens: Vec<Spot>,
    at: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|spot| &spot.token)
    }

    fn next(&mut self) -> Option<&Spot> {
        self.at += 1;
        self.tokens.get(self.at - 1)
    }

    fn wrong(&self, message: &str) -> GateError {
        let (start, length) =
            self.tokens.get(self.at).map_or((self.end, 1), |spot| (spot.start, spot.length));
        wrong_at(message.into(), start, length)
    }

    /// As `wrong`, of the token just taken.
    fn wrong_before(&mut self, message: &str) -> GateError {
        self.at -= 1;
        self.wrong(message)
    }

    fn sum(&mut self) -> Result<Expr, GateError> {
        let first = self.product()?;
        let mut terms = vec![(Sign::Plus, first)];
        loop {
            let sign = match self.peek() {
                Some(Token::Plus) => Sign::Plus,
                Some(Token::Minus) => Sign::Minus,
                _ => break,
            };
            self.at += 1;
            terms.push((sign, self.product()?));
        }
        Ok(match terms.pop() {
            Some((Sign::Plus, only)) if terms.is_empty() => only,
            last => Expr::Sum(terms.into_iter().chain(last).collect()),
        })
    }

    fn product(&mut self) -> Result<Expr, GateError> {
        let mut factors = vec![self.factor()?];
        while self.peek() == Some(&Token::Times) {
            self.at += 1;
            factors.push(self.factor()?);
        }
        Ok(match factors.pop() {
            Some(only) if factors.is_empty() => only,
            last => Expr::Product(factors.into_iter().chain(last).collect()),
        })
    }

    fn factor(&mut self) -> Result<Expr, GateError> {
        if self.depth >= DEEPEST {
            return Err(self.wrong("nested too deeply"));
        }
        self.depth += 1;
        let factor = self.factor_inside();
        self.depth -= 1;
        factor
    }

    fn factor_inside(&mut self) -> Result<Expr, GateError> {
        match self.next().map(|spot| spot.token.clone()) {
            Some(Token::Number(number)) => Ok(Expr::Number(number)),
            Some(Token::Metric(text)) => {
                Name::parse(&text).map(Expr::Metric).map_err(|message| self.wrong_before(message))
            }
            Some(Token::Minus) => Ok(Expr::Negative(Box::new(self.factor()?))),
            Some(Token::Open) => {
                let inside = self.sum()?;
                if self.next().map(|spot| &spot.token) == Some(&Token::Close) {
                    Ok(inside)
                } else {
                    Err(self.wrong_before("expected `)`"))
                }
            }
            _ => Err(self.wrong_before("expected a metric such as `train.val_accuracy`, a number or `(`")),
        }
    }
}
