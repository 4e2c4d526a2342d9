//! A scenario's file: TOML whose every field is checked, with line and column where it is wrong.

use std::ops::{Range as Span, RangeInclusive};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Deed, STEPS_MAX, Step};
use crate::options::{Level, NODES_MAX, Range, SECONDS_MAX, USERS_MAX, Wishes};
use crate::seed::Probability;

type Number = Option<Spanned<u64>>;
type Seconds = Option<Spanned<f64>>;
type Text = Option<Spanned<String>>;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    about: String,
    nodes: Number,
    first: Number,
    users: Number,
    seconds: Number,
    latency_ms: Text,
    loss: Text,
    burst: Number,
    duplicate: Text,
    reorder: Text,
    rate: Number,
    faults: Option<Level>,
    online: Text,
    stay: Seconds,
    #[serde(default)]
    step: Vec<Spanned<Line>>,
}

/// A step as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    second: Spanned<u64>,
    #[serde(rename = "do")]
    kind: Kind,
    share: Text,
    within: Seconds,
    lasting: Seconds,
    every: Seconds,
    times: Number,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Come,
    Go,
    Grow,
    Crash,
    PowerOff,
    Restart,
    Split,
    Flap,
}

/// Where something is wrong, and what is expected there.
struct Wrong(Span<usize>, String);

/// What the file says, or where it is wrong.
pub(super) fn parse(text: &str) -> Result<(String, Wishes), String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let place = error.span().map_or_else(String::new, |at| place(text, &at));
        format!("{place}{}", error.message())
    })?;
    let about = file.about.clone();
    match wishes(file) {
        Ok(wishes) => Ok((about, wishes)),
        Err(Wrong(at, expected)) => Err(format!("{}{expected}", place(text, &at))),
    }
}

fn place(text: &str, at: &Span<usize>) -> String {
    let before = text.get(..at.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: ")
}

fn wishes(file: File) -> Result<Wishes, Wrong> {
    let most = u64::from(NODES_MAX);
    let nodes = number("nodes", file.nodes, 1..=most)?;
    let first_max = nodes.unwrap_or(most);
    if file.step.len() > STEPS_MAX {
        let at = file.step[STEPS_MAX].span();
        return Err(Wrong(at, format!("expected at most {STEPS_MAX} steps")));
    }
    let small = |n: u64| u16::try_from(n).expect("checked against NODES_MAX");
    let medium = |n: u64| u32::try_from(n).expect("checked against a u32");
    Ok(Wishes {
        nodes: nodes.map(small),
        first: number("first", file.first, 1..=first_max)?.map(small),
        users: number("users", file.users, 0..=USERS_MAX.into())?.map(medium),
        seconds: number("seconds", file.seconds, 1..=SECONDS_MAX)?,
        latency: latency(file.latency_ms)?,
        loss: share("loss", file.loss)?,
        burst: number("burst", file.burst, 1..=1000)?.map(medium),
        duplicate: share("duplicate", file.duplicate)?,
        reorder: share("reorder", file.reorder)?,
        rate: number("rate", file.rate, 1..=u64::MAX)?,
        faults: file.faults,
        online: share("online", file.online)?,
        stay: seconds("stay", file.stay)?,
        steps: file.step.into_iter().map(step).collect::<Result<_, _>>()?,
    })
}

fn step(line: Spanned<Line>) -> Result<Step, Wrong> {
    let at = line.span();
    let mut line = line.into_inner();
    let second = number("second", Some(line.second), 0..=SECONDS_MAX)?.expect("given");
    let lacking = |name: &str| Wrong(at.clone(), format!("this step needs `{name}`"));
    let mut share = || {
        let share = share("share", line.share.take())?;
        share.ok_or_else(|| lacking("share"))
    };
    let time = |name: &str, of: &mut Seconds| {
        let time = seconds(name, of.take())?;
        time.ok_or_else(|| lacking(name))
    };
    let deed = match line.kind {
        Kind::Come => Deed::Come {
            share: share()?,
            within: time("within", &mut line.within)?,
        },
        Kind::Go => Deed::Go {
            share: share()?,
            within: time("within", &mut line.within)?,
        },
        Kind::Grow => Deed::Grow {
            within: time("within", &mut line.within)?,
        },
        Kind::Crash => Deed::Crash {
            share: share()?,
            lasting: time("lasting", &mut line.lasting)?,
        },
        Kind::PowerOff => Deed::PowerOff {
            share: share()?,
            lasting: time("lasting", &mut line.lasting)?,
        },
        Kind::Restart => Deed::Restart {
            every: time("every", &mut line.every)?,
        },
        Kind::Split => Deed::Split {
            share: share()?,
            lasting: time("lasting", &mut line.lasting)?,
        },
        Kind::Flap => {
            let times = number("times", line.times.take(), 1..=10_000)?;
            let times = times.ok_or_else(|| lacking("times"))?;
            Deed::Flap {
                times: u32::try_from(times).expect("at most 10,000"),
                every: time("every", &mut line.every)?,
            }
        }
    };
    let left = [
        ("share", line.share.map(|it| it.span())),
        ("within", line.within.map(|it| it.span())),
        ("lasting", line.lasting.map(|it| it.span())),
        ("every", line.every.map(|it| it.span())),
        ("times", line.times.map(|it| it.span())),
    ];
    for (name, at) in left {
        if let Some(at) = at {
            return Err(Wrong(at, format!("this step has no `{name}`")));
        }
    }
    Ok(Step { second, deed })
}

fn number(name: &str, given: Number, range: RangeInclusive<u64>) -> Result<Option<u64>, Wrong> {
    let Some(given) = given else { return Ok(None) };
    let at = given.span();
    let number = given.into_inner();
    if range.contains(&number) {
        return Ok(Some(number));
    }
    let (least, most) = range.into_inner();
    let expected = format!("expected {name} from {least} to {most}, got {number}");
    Err(Wrong(at, expected))
}

fn seconds(name: &str, given: Seconds) -> Result<Option<Duration>, Wrong> {
    let Some(given) = given else { return Ok(None) };
    let at = given.span();
    let seconds = given.into_inner();
    // Whole milliseconds, the same on every machine.
    let most = SECONDS_MAX as f64;
    if (0.001..=most).contains(&seconds) {
        let ms = (seconds * 1e3).round() as u64;
        return Ok(Some(Duration::from_millis(ms)));
    }
    let expected = format!("expected {name} from 0.001 to {most} seconds, got {seconds}");
    Err(Wrong(at, expected))
}

fn share(name: &str, given: Text) -> Result<Option<Probability>, Wrong> {
    let Some(given) = given else { return Ok(None) };
    let at = given.span();
    let text = given.into_inner();
    let share = Probability::parse(&text);
    let expected = || format!("expected {name} as a share such as \"10%\", got {text:?}");
    share.map(Some).ok_or_else(|| Wrong(at, expected()))
}

fn latency(given: Text) -> Result<Option<(Duration, Duration)>, Wrong> {
    let Some(given) = given else { return Ok(None) };
    let at = given.span();
    let text = given.into_inner();
    let range = Range::parse(&text);
    let expected =
        || format!("expected latency-ms as A..B in milliseconds, such as \"10..50\", got {text:?}");
    range.map(Some).ok_or_else(|| Wrong(at, expected()))
}
