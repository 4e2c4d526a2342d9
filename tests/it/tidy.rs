//! The rules of the house that a program can check. A failure names file, line and what to do.

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

/// The longest function, lines with its signature: what fits a screen.
const FUNCTION_LINES: usize = 70;

/// The longest file, lines without its tests.
const FILE_LINES: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["util", "utils", "common", "types", "helpers"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn rust_files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["mesh", "node", "sim", "tests"]
        .map(|part| root().join(part))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                files.push((path, text));
            }
        }
    }
    assert!(
        files.len() > 20,
        "the sources were not found below {}",
        root().display()
    );
    files
}

fn is_test_file(path: &Path) -> bool {
    let within_tests = path.starts_with(root().join("tests"));
    within_tests
        || path.file_stem().is_some_and(|stem| stem == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("below the root")
        .display()
        .to_string()
}

/// Fails with all complaints at once.
fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let silent = |(path, text): &(PathBuf, String)| {
        (!text.starts_with("//! "))
            .then(|| format!("{}:1: begin with a `//!` module doc", relative(path)))
    };
    report(&rust_files().iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn every_file_stays_below_the_cap_without_its_tests() {
    let long = |(path, text): &(PathBuf, String)| {
        let lines = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .count();
        let over = !is_test_file(path) && lines > FILE_LINES;
        over.then(|| {
            format!(
                "{}: {lines} lines, at most {FILE_LINES}: split it by concept",
                relative(path)
            )
        })
    };
    report(&rust_files().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn every_function_fits_a_screen() {
    struct Functions<'a> {
        path: &'a Path,
        complaints: Vec<String>,
    }
    impl Functions<'_> {
        fn measure(&mut self, name: &syn::Ident, start: usize, end: usize) {
            let lines = end - start + 1;
            if lines > FUNCTION_LINES {
                let place = format!("{}:{start}", relative(self.path));
                self.complaints.push(format!("{place}: `{name}` has {lines} lines, at most {FUNCTION_LINES}: split off what is pure"));
            }
        }
    }
    impl<'ast> Visit<'ast> for Functions<'_> {
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            self.measure(
                &item.sig.ident,
                item.sig.span().start().line,
                item.block.span().end().line,
            );
            syn::visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            self.measure(
                &item.sig.ident,
                item.sig.span().start().line,
                item.block.span().end().line,
            );
            syn::visit::visit_impl_item_fn(self, item);
        }
    }
    let mut complaints = Vec::new();
    for (path, text) in rust_files() {
        let file = syn::parse_file(&text).expect("sources compile");
        let mut functions = Functions {
            path: &path,
            complaints: Vec::new(),
        };
        functions.visit_file(&file);
        complaints.append(&mut functions.complaints);
    }
    report(&complaints);
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let empty = |(path, _): &(PathBuf, String)| {
        let stem = path.file_stem()?.to_str()?;
        EMPTY_NAMES
            .contains(&stem)
            .then(|| format!("{}: name it after what it holds", relative(path)))
    };
    report(&rust_files().iter().filter_map(empty).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("unimpl", "emented!("),
        concat!("#[ig", "nore"),
        concat!("```ig", "nore"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                complaints.push(format!(
                    "{}:{}: {mark}: do it, or say the limit in a sentence",
                    relative(&path),
                    number + 1
                ));
            }
        }
    }
    report(&complaints);
}

#[test]
fn dependencies_point_one_way() {
    let manifest =
        |part: &str| fs::read_to_string(root().join(part).join("Cargo.toml")).expect("a manifest");
    let names = |part: &str| -> Vec<String> {
        let manifest: toml::Table = manifest(part).parse().expect("valid TOML");
        let dependencies = manifest["dependencies"].as_table().expect("a table");
        dependencies.keys().cloned().collect()
    };
    let forbidden = [
        ("mesh", ["chinwag", "sim", "sled", "axum"].as_slice()),
        ("sim", ["chinwag", "libp2p", "tokio", "sled"].as_slice()),
        ("node", ["sim", "libp2p"].as_slice()),
    ];
    let mut complaints = Vec::new();
    for (part, wrong) in forbidden {
        let found = names(part);
        complaints.extend(wrong.iter().filter(|name| found.iter().any(|f| f == *name)).map(|name| {
            format!("{part}/Cargo.toml: must not depend on {name}: node → mesh, sim → mesh, tests → all")
        }));
    }
    let sim = manifest("sim");
    if sim.contains("net") {
        complaints.push("sim/Cargo.toml: uses mesh without its feature `net`".to_owned());
    }
    report(&complaints);
}

#[test]
fn the_libraries_that_know_the_outside_are_used_in_one_place() {
    let places = [
        ("libp2p::", "mesh/src/net"),
        ("sled::", "node/src/history"),
        ("tokio_tungstenite", "node/src/front"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in rust_files() {
        let path = relative(&path);
        for (library, place) in places {
            let elsewhere = !path.starts_with(place) && !path.starts_with("tests/");
            // Clients of the node speak WebSocket too, and the terminal client is one of them.
            let client = library == "tokio_tungstenite" && path.starts_with("node/src/chat_client");
            if elsewhere && !client && text.contains(library) {
                complaints.push(format!("{path}: `{library}` belongs into {place}"));
            }
        }
    }
    report(&complaints);
}

#[test]
fn every_test_that_the_architecture_names_is_there() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("a page");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    // A test's name is a sentence: at least four words.
    let is_test = |name: &&str| name.matches('_').count() > 2 && !name.contains('/');
    let named: Vec<&str> = rows
        .flat_map(|row| row.split('`'))
        .filter(is_test)
        .collect();
    assert!(named.len() > 19, "the table of invariants names its tests");
    let all = rust_files();
    let is_there = |name: &str| {
        let function = format!("fn {name}(");
        all.iter().any(|(_, text)| text.contains(&function))
    };
    let missing = named.iter().filter(|name| !is_there(name));
    report(
        &missing
            .map(|name| format!("ARCHITECTURE.md: no test is called `{name}`"))
            .collect::<Vec<_>>(),
    );
}
