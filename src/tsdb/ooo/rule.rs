//! Which samples are taken late.

use crate::storage::AppendError;
use crate::tsdb::Tsdb;
use crate::tsdb::head::Verdict;

/// What happens to samples that cannot be taken in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LateRule {
    /// They are refused.
    Never,
    /// They are taken from this instant on, in milliseconds.
    From(i64),
}

/// What becomes of a sample after all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// What its series says.
    InOrder(Verdict),
    /// It is taken late.
    Late,
}

impl LateRule {
    /// Settles what the series' verdict leaves open. With a window, what is older than it is too old, whatever it is to
    /// its series.
    #[inline]
    pub(crate) fn settle(self, verdict: Verdict, t: i64) -> Settled {
        match (self, verdict) {
            (LateRule::From(oldest), Verdict::OutOfOrder | Verdict::TooOld) if t >= oldest => Settled::Late,
            (LateRule::From(_), Verdict::OutOfOrder) => Settled::InOrder(Verdict::TooOld),
            (_, verdict) => Settled::InOrder(verdict),
        }
    }
}

impl Tsdb {
    /// Makes the late samples committed so far durable.
    pub(in crate::tsdb) fn sync_late(&self) -> Result<(), AppendError> {
        let synced = self.wbl.sync().map_err(|error| self.log.fail_sync(error))?;
        self.metrics.wal_fsyncs.add(synced);
        Ok(())
    }

    /// The rule for a batch that begins now.
    pub(in crate::tsdb) fn late_rule(&self) -> LateRule {
        match self.settings.load().out_of_order_window.0 {
            window if window > 0 => LateRule::From(self.newest().saturating_sub(window)),
            _ => LateRule::Never,
        }
    }
}
