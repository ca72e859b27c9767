//! How far the stream is safe, and the gap that is open: what the batcher learns, and where it is
//! told.

use crate::receive::backfill::{Gap, OpenGap};
use crate::receive::watermark::Watermark;
use ha_pipeline::now_ns;
use tokio::sync::watch;

/// The watermark and those who follow it.
#[derive(Debug)]
pub struct Continuity {
    watermark: Watermark,
    gaps: watch::Sender<Gap>,
    open_gap: OpenGap,
    mark_ns: watch::Sender<Option<i64>>,
}

impl Continuity {
    /// Gap fill follows `gaps`, `/status` shows `open_gap`, and `mark_ns` is written to the spool.
    #[must_use]
    pub fn new(
        watermark: Watermark,
        gaps: watch::Sender<Gap>,
        open_gap: OpenGap,
        mark_ns: watch::Sender<Option<i64>>,
    ) -> Self {
        open_gap.set(watermark.gap_from_ns());
        Self {
            watermark,
            gaps,
            open_gap,
            mark_ns,
        }
    }

    /// The connection stands: the gap before it can be filled.
    pub fn connected(&mut self, open_ns: Option<i64>) {
        let from = self.watermark.gap_from_ns();
        self.gaps.send_modify(|gap| {
            *gap = Gap {
                number: gap.number + 1,
                from,
            }
        });
        self.watermark.connected(now_ns());
        self.open_gap.set(from);
        // A connection is a beginning, even where nothing happens after it.
        if self.mark_ns.borrow().is_none() {
            self.publish(open_ns);
        }
    }

    /// The connection is gone. `open_ns` is the source time of the oldest event in the open batch.
    pub fn disconnected(&mut self, open_ns: Option<i64>) {
        self.watermark.gap_begins(open_ns);
        self.open_gap.set(self.watermark.gap_from_ns());
    }

    /// Gap fill is done with the gap of this number, which may be an older one.
    pub fn gap_filled(&mut self, number: u64) {
        if number == self.gaps.borrow().number {
            tracing::info!("the gap is filled");
            self.watermark.gap_filled();
            self.open_gap.set(None);
        }
    }

    /// A batch whose oldest event has this source time was handed to the router.
    pub fn under_way(&mut self, oldest_ns: i64) {
        self.watermark.under_way(oldest_ns);
    }

    /// The batch with this span of source times is safe.
    pub fn safe(&mut self, (oldest_ns, newest_ns): (i64, i64)) {
        self.watermark.safe(oldest_ns, newest_ns);
    }

    /// Publishes the mark if it has moved: a batch of internal events alone moves none, and must not
    /// hold up the next one that does.
    pub fn publish(&self, open_ns: Option<i64>) {
        let mark = self.watermark.mark_ns(open_ns);
        self.mark_ns.send_if_modified(|published| {
            let is_new = *published != mark;
            *published = mark;
            is_new
        });
    }
}
