//! Where lines come from, and where lines go: a terminal with a prompt, or pipes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;

use super::Mode;
use super::text::{complain, put};

/// Lines typed ahead of their handling.
const AHEAD: usize = 16;

/// Lines in, lines out.
pub(super) struct Console {
    lines: mpsc::Receiver<String>,
    out: Out,
}

enum Out {
    Piped,
    Terminal {
        printer: Box<dyn ExternalPrinter + Send>,
        /// The next prompt, once the line before was handled.
        prompts: SyncSender<String>,
    },
}

impl Console {
    /// Opens it; an error is a sentence.
    pub(super) fn open(mode: Mode) -> Result<Self, String> {
        let (typed, lines) = mpsc::channel(AHEAD);
        let out = match mode {
            Mode::Piped => {
                tokio::spawn(read_pipe(typed));
                Out::Piped
            }
            Mode::Terminal => {
                let opened = open_terminal(typed);
                opened.map_err(|error| format!("the terminal cannot be used: {error}"))?
            }
        };
        Ok(Self { lines, out })
    }

    /// The next line; `None`: the end. Safe to cancel.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Asks for a line. Piped, lines come unasked.
    pub(super) fn prompt(&self, prompt: String) {
        if let Out::Terminal { prompts, .. } = &self.out {
            // The reader is gone at the end of the input.
            prompts.send(prompt).ok();
        }
    }

    /// Shows a message.
    pub(super) fn show(&mut self, line: String) {
        match &mut self.out {
            Out::Piped => put(&line),
            Out::Terminal { printer, .. } => print_above(printer.as_mut(), line),
        }
    }

    /// Shows something that is no message.
    pub(super) fn remark(&mut self, line: String) {
        match &mut self.out {
            Out::Piped => complain(&line),
            Out::Terminal { printer, .. } => print_above(printer.as_mut(), line),
        }
    }
}

/// Above the line that is being typed.
fn print_above(printer: &mut (dyn ExternalPrinter + Send), line: String) {
    // A terminal that is gone ends the input too.
    printer.print(line + "\n").ok();
}

async fn read_pipe(typed: mpsc::Sender<String>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => {
                if typed.send(line).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                complain(&format!("standard input cannot be read further: {error}"));
                return;
            }
        }
    }
}

fn open_terminal(typed: mpsc::Sender<String>) -> Result<Out, ReadlineError> {
    let mut editor = DefaultEditor::new()?;
    let printer = Box::new(editor.create_external_printer()?);
    let (prompts, asked) = sync_channel(1);
    std::thread::spawn(move || read_terminal(&mut editor, &asked, &typed));
    Ok(Out::Terminal { printer, prompts })
}

fn read_terminal(
    editor: &mut DefaultEditor,
    asked: &Receiver<String>,
    typed: &mpsc::Sender<String>,
) {
    while let Ok(prompt) = asked.recv() {
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return,
            Err(error) => {
                complain(&format!("the terminal cannot be read further: {error}"));
                return;
            }
        };
        if !line.trim().is_empty() {
            // Without it the line can only not be recalled.
            editor.add_history_entry(&line).ok();
        }
        if typed.blocking_send(line).is_err() {
            return;
        }
    }
}
