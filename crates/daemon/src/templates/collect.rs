//! Templates that nobody uses any more go: each takes as much disk as its guest had memory in use.
//!
//! Every version of agent, kernel and QEMU has templates of its own, and servers of several versions
//! may share the folder: so it is the time since a template was last used that decides. Machines
//! that run on one are not disturbed.

use std::time::Duration;

use machine::{Platform, Template, TemplateError};

use super::{Templates, key_of};
use crate::{causes, clock};

const EVERY: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long one is kept unused that requests to this server can ask for.
const KEPT: Duration = DAY.saturating_mul(7);

/// How long one is kept unused that they cannot ask for, as it is of another version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Others {
    KeptADay,
    /// Somebody may be at it.
    KeptAnHour,
}

impl Others {
    fn kept(self) -> Duration {
        match self {
            Self::KeptADay => DAY,
            Self::KeptAnHour => Duration::from_secs(3600),
        }
    }
}

impl Templates {
    /// Looks for them again and again.
    pub(crate) async fn keep_collecting(self, platform: Platform) {
        loop {
            match self.collected(platform.clone(), Others::KeptADay).await {
                Ok(0) => {}
                Ok(bytes) => tracing::info!(bytes, "templates that were not used are removed"),
                Err(error) => tracing::warn!(error = causes(&error), "old templates may be left"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// [`Self::collect`], for who must not block.
    pub(crate) async fn collected(
        &self,
        platform: Platform,
        others: Others,
    ) -> Result<u64, TemplateError> {
        let templates = self.clone();
        let collect = move || templates.collect(&platform, others);
        // It is broken off when the server ends; the next one does it.
        tokio::task::spawn_blocking(collect).await.unwrap_or(Ok(0))
    }

    /// Takes away those that were not used for long, and tells how many bytes that frees; it blocks.
    fn collect(&self, platform: &Platform, others: Others) -> Result<u64, TemplateError> {
        let now = clock::now();
        let mut freed = 0;
        for template in self.folder.list()? {
            let kept = if is_of(platform, &template) { KEPT } else { others.kept() };
            // One that is gone by now is no concern.
            let Ok(used) = template.last_used() else { continue };
            // One of the future was used just now, by another clock.
            if kept <= now.duration_since(used).unwrap_or_default() {
                let bytes = template.allocated_bytes().unwrap_or_default();
                self.folder.remove(template.key())?;
                freed += bytes;
            }
        }
        Ok(freed)
    }
}

/// Whether a server of this platform can ask for it.
fn is_of(platform: &Platform, template: &Template) -> bool {
    *template.key() == key_of(platform, template.shape(), template.label())
}
