//! The flags of `run`, made from the table of settings.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use clap::{Arg, ArgAction, ArgMatches};

use crate::config::Sources;
use crate::config::settings::{SETTINGS, Setting, Shape};

/// What was typed after `run`, as text: values get their types together with those of the
/// environment and the file, so that all mistakes are reported at once.
#[derive(Debug, Clone, Default)]
pub struct RunFlags(BTreeMap<&'static str, Vec<String>>);

impl RunFlags {
    /// Together with this process's environment. What is not Unicode is replaced, so that it is refused
    /// where it means something.
    pub fn sources(self) -> Sources {
        let environment = std::env::vars_os().map(|(name, value)| {
            (
                name.to_string_lossy().into(),
                value.to_string_lossy().into(),
            )
        });
        Sources {
            flags: self.0,
            environment: environment.collect(),
            terminal: std::io::stderr().is_terminal(),
        }
    }
}

impl clap::FromArgMatches for RunFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Some(values) = matches.get_many::<String>(setting.name) {
                self.0.insert(setting.name, values.cloned().collect());
            }
        }
        Ok(())
    }
}

impl clap::Args for RunFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(SETTINGS.iter().map(arg))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn arg(setting: &'static Setting) -> Arg {
    let help = match (setting.default, setting.shape) {
        (Some(default), Shape::One | Shape::List) => {
            format!("{} [default: {default}]", setting.help)
        }
        (_, Shape::Switch) | (None, _) => setting.help.to_owned(),
    };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help_heading(setting.group)
        .help(help);
    match setting.shape {
        // A number below zero is a mistake to be listed with the others.
        Shape::One => arg.allow_negative_numbers(true),
        Shape::List => arg.action(ArgAction::Append),
        Shape::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}
