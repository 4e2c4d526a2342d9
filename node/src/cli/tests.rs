//! What is typed, and which command it is.

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(Cli::command)
}

fn flags(line: &str) -> config::Sources {
    match parse(line).unwrap() {
        Command::Run(flags) | Command::Config(flags) => flags.sources(),
        other @ (Command::Chat(_) | Command::Key | Command::Completions { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::definition().debug_assert();
}

#[test]
fn a_bare_chinwag_takes_the_flags_of_run() {
    let bare = flags("chinwag --listen 127.0.0.1:1 --peer a:1 --peer b:2 --open");
    let run = flags("chinwag run --listen 127.0.0.1:1 --peer a:1 --peer b:2 --open");
    assert_eq!(bare.flags, run.flags);
    assert_eq!(run.flags["peer"], ["a:1", "b:2"]);
    assert_eq!(run.flags["open"], ["true"]);
    assert_eq!(run.flags.len(), 3, "flags have no defaults of their own");
    assert_eq!(flags("chinwag --open=false").flags["open"], ["false"]);
}

#[test]
fn a_switch_does_not_swallow_what_follows_it() {
    assert_eq!(flags("chinwag --mdns --weight 2").flags["weight"], ["2"]);
    assert!(parse("chinwag --open false").is_err());
}

#[test]
fn unknown_flags_and_commands_are_wrong_usage() {
    for line in [
        "chinwag --nope",
        "chinwag nope",
        "chinwag key --weight 1",
        "chinwag chat",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn every_setting_is_explained_in_the_help() {
    let mut command = Cli::definition();
    let run = command.find_subcommand_mut("run").unwrap();
    let help = run.render_long_help().to_string();
    for setting in config::settings::SETTINGS {
        assert!(
            help.contains(&format!("--{}", setting.name)),
            "{}",
            setting.name
        );
    }
    assert!(help.contains("Examples:"));
}
