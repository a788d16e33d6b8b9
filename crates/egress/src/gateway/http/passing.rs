//! Bodies on their way through the gateway: frame by frame, counted, and cut when it must be.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{account::Account, masked::Masked, pin};

pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body. Nothing of it is held back but what [`Masked`] needs, so that it flows as fast as the
/// slower of the two ends.
pub(crate) struct Passing {
    source: Source,
    /// Present while the rest is to be waited for.
    gate: Option<LocalBoxFuture<'static, ()>>,
    passage: Option<Passage>,
    masked: Option<Masked>,
    failed: Option<BodyError>,
}

enum Source {
    Own(Option<Bytes>),
    Incoming(Incoming),
}

struct Passage {
    account: Rc<Account>,
    towards: Towards,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Towards {
    Upstream,
    Guest,
}

/// The request may go on no longer.
#[derive(Debug, thiserror::Error)]
#[error("the policy has changed")]
struct Cut;

impl Passing {
    /// A body that the gateway makes.
    pub(crate) fn own(bytes: impl Into<Bytes>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty());
        Self { source: Source::Own(bytes), gate: None, passage: None, masked: None, failed: None }
    }

    pub(crate) fn new(body: Incoming, account: &Rc<Account>, towards: Towards) -> Self {
        let cut = Box::pin(account.cut.clone().cancelled_owned());
        let passage = Some(Passage { account: Rc::clone(account), towards, cut });
        let source = Source::Incoming(body);
        Self { source, gate: None, passage, masked: None, failed: None }
    }

    /// Nothing of the body is asked for before this is over.
    pub(crate) fn after(mut self, gate: LocalBoxFuture<'static, ()>) -> Self {
        self.gate = Some(gate);
        self
    }

    pub(crate) fn masked(mut self, masked: Option<Masked>) -> Self {
        self.masked = masked;
        self
    }

    fn poll_source(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(passage) = &mut self.passage
            && passage.cut.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(Cut.into())));
        }
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(context));
            self.gate = None;
        }
        match &mut self.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Incoming(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|f| f.map_err(Into::into)))
            }
        }
    }
}

impl Passage {
    fn note(&self, frame: Option<&Result<Frame<Bytes>, BodyError>>) {
        match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let count = match self.towards {
                    Towards::Upstream => &self.account.sent,
                    Towards::Guest => &self.account.received,
                };
                count.set(count.get() + length);
            }
            Some(Err(error)) if error.is::<Cut>() => self.account.fail(Cut.to_string()),
            Some(Err(_)) => self.account.fail(match self.towards {
                Towards::Upstream => "the guest broke off",
                Towards::Guest => "the host broke off",
            }),
            None => (),
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(frame) = this.masked.as_mut().and_then(Masked::pending_trailers) {
                return Poll::Ready(Some(Ok(frame)));
            }
            let mut frame = ready!(this.poll_source(context));
            if let Some(passage) = &this.passage {
                passage.note(frame.as_ref());
                if passage.towards == Towards::Upstream
                    && let Some(trailers) =
                        frame.as_mut().and_then(|f| f.as_mut().ok()?.trailers_mut())
                {
                    pin::trailers(trailers);
                }
            }
            // hyper drops what it has not sent yet, the head too, when a body fails. So it comes to that
            // only after it has been asked once more.
            let frame = match frame {
                Some(Err(error)) => {
                    this.failed = Some(error);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Ok(frame)) => Some(frame),
                None => None,
            };
            let Some(masked) = &mut this.masked else { return Poll::Ready(frame.map(Ok)) };
            let frame = match frame {
                Some(frame) => masked.frame(frame),
                None => match masked.rest() {
                    Some(frame) => Some(frame),
                    None => return Poll::Ready(None),
                },
            };
            // Without a frame all of it is held back for now.
            if let Some(frame) = frame {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.masked.as_ref().is_none_or(Masked::is_empty)
            && match &self.source {
                Source::Own(bytes) => bytes.is_none(),
                Source::Incoming(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Incoming(body) => {
                let mut hint = body.size_hint();
                if let Some(masked) = &self.masked {
                    let held = masked.held() as u64;
                    let upper = hint.upper().map(|upper| upper.saturating_add(held));
                    hint.set_lower(0);
                    if let Some(upper) = upper {
                        hint.set_upper(upper);
                    }
                    hint.set_lower(body.size_hint().lower().saturating_add(held));
                }
                hint
            }
        }
    }
}

impl std::fmt::Debug for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passing").finish_non_exhaustive()
    }
}
