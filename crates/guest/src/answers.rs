//! Answers already given, so that a question sent again after a lost connection is not done twice.

use std::collections::VecDeque;

use protocol::{Refusal, Response};

const KEPT_MAX: usize = 1024;

type Answer = Result<Response, Refusal>;

/// The newest questions of one host process, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: VecDeque<(u64, Option<Answer>)>,
}

/// What is known of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// Its answer is still to come.
    Begun,
    Answered(Answer),
}

impl Answers {
    /// Looks a question up, and remembers a new one.
    pub(crate) fn ask(&mut self, id: u64) -> Known {
        let known = self.kept.iter().find(|(kept, _)| *kept == id);
        match known {
            Some((_, Some(answer))) => Known::Answered(answer.clone()),
            Some((_, None)) => Known::Begun,
            None => {
                if self.kept.len() >= KEPT_MAX {
                    self.kept.pop_front();
                }
                self.kept.push_back((id, None));
                Known::New
            }
        }
    }

    /// Keeps the answer; one that is large and can be given anew is forgotten.
    pub(crate) fn answer(&mut self, id: u64, answer: &Answer) {
        let is_large = matches!(answer, Ok(Response::Entries(_) | Response::Commands(_)));
        if is_large {
            self.kept.retain(|(kept, _)| *kept != id);
        } else if let Some((_, kept)) = self.kept.iter_mut().find(|(kept, _)| *kept == id) {
            *kept = Some(answer.clone());
        }
    }

    /// Another host process numbers its questions anew.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }
}
