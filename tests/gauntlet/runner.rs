//! Runs the cases one after another, group by group, and tells of them as any Rust test does.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use crate::{
    arguments::{Arguments, What},
    cases::{Case, GROUPS, Group},
    guest::Guest,
    hood::Hood,
    trial::Trial,
    world::World,
};

pub(crate) fn list(arguments: &Arguments) {
    for (group, case) in selected(arguments) {
        println!("{}: test", full_name(group, case));
    }
}

pub(crate) fn selects_nothing(arguments: &Arguments) -> bool {
    selected(arguments).is_empty()
}

pub(crate) fn nothing() -> ExitCode {
    println!("\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n");
    ExitCode::SUCCESS
}

fn selected(arguments: &Arguments) -> Vec<(&'static Group, &'static Case)> {
    let all = GROUPS.iter().flat_map(|group| group.cases.iter().map(move |case| (*group, case)));
    all.filter(|(group, case)| arguments.select(&full_name(group, case))).collect()
}

fn full_name(group: &Group, case: &Case) -> String {
    format!("{}::{}", group.name, case.name)
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    left_out: usize,
}

/// Inside the host's namespace.
pub(crate) fn run(arguments: &Arguments, folder: &Path) -> ExitCode {
    let began = Instant::now();
    let world = World::start(folder);
    if arguments.what == What::Stay {
        return stay(folder);
    }
    let chosen = selected(arguments);
    println!("\nrunning {} tests", chosen.len());
    let hood = Hood::new();
    let all: usize = GROUPS.iter().map(|group| group.cases.len()).sum();
    let mut tally = Tally { left_out: all - chosen.len(), ..Tally::default() };
    for group in GROUPS {
        let cases: Vec<_> =
            chosen.iter().filter(|(of, _)| of.name == group.name).map(|(_, case)| *case).collect();
        if !cases.is_empty() {
            let own = own_hood(group);
            tally.run_group(group, &cases, own.as_ref().unwrap_or(&hood), &world);
        }
    }
    drop(hood);
    tally.tell(began)
}

fn own_hood(group: &Group) -> Option<Hood> {
    let mut own = (!group.variables.is_empty()).then(Hood::new)?;
    group.variables.iter().for_each(|(name, value)| own.set(name, value));
    Some(own)
}

/// The namespaces have the folder's name with `-host` and `-world` behind it.
fn stay(folder: &Path) -> ExitCode {
    println!("the world is in {}; it goes with the end of standard input", folder.display());
    match std::io::copy(&mut std::io::stdin(), &mut std::io::sink()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_fault) => ExitCode::FAILURE,
    }
}

impl Tally {
    fn run_group(&mut self, group: &Group, cases: &[&'static Case], hood: &Hood, world: &World) {
        let made = catch_unwind(AssertUnwindSafe(|| (group.guest)(hood)));
        let Ok(guest) = made else {
            println!("test {}: its sandbox could not be made ... FAILED", group.name);
            self.failed.extend(cases.iter().map(|case| full_name(group, case)));
            return;
        };
        for case in cases {
            self.run_case(group, case, &guest, world);
        }
    }

    fn run_case(&mut self, group: &Group, case: &Case, guest: &Guest<'_>, world: &World) {
        let began = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut trial = Trial::new(guest, world);
            (case.run)(&mut trial);
            trial.conclude();
        }));
        let name = full_name(group, case);
        let seconds = began.elapsed().as_secs_f64();
        match ended {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok ({seconds:.1} s)");
            }
            Err(_panic) => {
                println!("test {name} ... FAILED ({seconds:.1} s)");
                self.failed.push(name);
            }
        }
    }

    fn tell(&self, began: Instant) -> ExitCode {
        let (passed, failed) = (self.passed, self.failed.len());
        if failed > 0 {
            println!("\nfailures:\n    {}", self.failed.join("\n    "));
        }
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {} \
             filtered out; finished in {:.2}s\n",
            self.left_out,
            began.elapsed().as_secs_f64()
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
