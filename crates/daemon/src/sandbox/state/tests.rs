use std::fmt::Write;

use proptest::prelude::*;

use super::*;

const STATES: [State; 9] = [
    State::Preparing { stop: None },
    State::Preparing { stop: Some(EndReason::Stopped) },
    State::Running,
    State::Pausing,
    State::Paused,
    State::Waking,
    State::Saving { reason: EndReason::Stopped },
    State::Stopping { reason: EndReason::Stopped },
    State::Stopped { reason: EndReason::Stopped },
];

const EVENTS: [Event; 18] = [
    Event::Prepared,
    Event::PrepareFailed(EndReason::FailedToStart),
    Event::StopRequested(Disk::Keep),
    Event::StopRequested(Disk::Drop),
    Event::DeadlinePassed(Disk::Keep),
    Event::DeadlinePassed(Disk::Drop),
    Event::MachineEnded(EndReason::Crashed, Disk::Keep),
    Event::MachineEnded(EndReason::Crashed, Disk::Drop),
    Event::Discarded,
    Event::Saved,
    Event::Released,
    Event::PauseRequested,
    Event::Paused,
    Event::PauseFailed,
    Event::WakeRequested,
    Event::Woken,
    Event::WakeFailed(Memory::Kept),
    Event::WakeFailed(Memory::Lost),
];

/// The whole lifecycle on one page. A change to it is a change to that page, so a reviewer sees
/// every transition that moved. `UPDATE_DOCS=1` writes the page.
#[test]
fn every_event_in_every_state() {
    let mut page = include_str!("page.md").to_owned();
    page += "\n| state | event | next state | effect |\n| --- | --- | --- | --- |\n";
    for (state, event) in STATES.iter().flat_map(|state| EVENTS.map(|event| (*state, event))) {
        let (next, effect) = state.on(event);
        let next = if next == state { "-".to_owned() } else { reasoned(next) };
        let effect = effect.map_or_else(|| "-".to_owned(), |effect| format!("{effect:?}"));
        writeln!(page, "| {state} | {event:?} | {next} | {effect} |").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lifecycle.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page, "docs/lifecycle.md has drifted");
}

fn reasoned(state: State) -> String {
    match state {
        State::Preparing { stop: Some(reason) }
        | State::Saving { reason }
        | State::Stopping { reason }
        | State::Stopped { reason } => format!("{state} ({reason:?})"),
        State::Preparing { stop: None }
        | State::Running
        | State::Pausing
        | State::Paused
        | State::Waking => state.to_string(),
    }
}

proptest! {
    /// Whatever happens, in whatever order: stopped is for good, the first reason stands, and a
    /// machine that was made is released before the end. A disk that is to be kept is saved before that,
    /// unless its sandbox goes.
    #[test]
    fn nothing_is_leaked(picks in prop::collection::vec(0..EVENTS.len(), 0..40)) {
        let (mut state, mut held) = (State::Preparing { stop: None }, false);
        for pick in picks {
            let event = EVENTS[pick];
            let (next, effect) = state.on(event);
            held |= event == Event::Prepared && matches!(state, State::Preparing { .. });
            held &= event != Event::Released || !matches!(state, State::Stopping { .. });
            let ended = matches!(state, State::Stopped { .. });
            prop_assert!(!ended || (next == state && effect.is_none()), "{event:?} after the end");
            prop_assert!(!held || !matches!(next, State::Stopped { .. }), "{state:?} {event:?} leaks");
            if let (Some(first), Some(second)) = (reason(state), reason(next)) {
                prop_assert_eq!(first, second, "the first reason stands");
            }
            let enters = matches!(next, State::Stopping { .. }) && !matches!(state, State::Stopping { .. });
            prop_assert_eq!(effect == Some(Effect::Release), enters);
            let keeps = matches!(event, Event::StopRequested(Disk::Keep)
                | Event::DeadlinePassed(Disk::Keep)
                | Event::MachineEnded(_, Disk::Keep));
            let is_lost = state == State::Waking && event == Event::WakeFailed(Memory::Lost);
            let keeps = lives(state) && keeps && !is_late(state, event) || is_lost;
            prop_assert_eq!(effect == Some(Effect::Save), keeps, "{:?} {:?}", state, event);
            if matches!(state, State::Saving { .. }) && next != state {
                prop_assert!(matches!(event, Event::Saved | Event::Discarded), "{event:?} loses it");
            }
            state = next;
        }
    }
}

/// Whether there is a disk that its user has written to, and nothing has become of it yet.
fn lives(state: State) -> bool {
    matches!(state, State::Running | State::Pausing | State::Paused | State::Waking)
}

/// What cannot be of a machine that sleeps.
fn is_late(state: State, event: Event) -> bool {
    state == State::Paused && matches!(event, Event::DeadlinePassed(_) | Event::MachineEnded(..))
}

fn reason(state: State) -> Option<EndReason> {
    match state {
        State::Preparing { stop } => stop,
        State::Running | State::Pausing | State::Paused | State::Waking => None,
        State::Saving { reason } | State::Stopping { reason } | State::Stopped { reason } => {
            Some(reason)
        }
    }
}
