//! What goes through the pipeline with a delivery and comes back when it is settled.

use ha_batch::HEADER_AGAIN;
use ha_broker::Delivery;
use ha_broker::topology;
use ha_pipeline::AckHandle;

/// A delivery whose events are not settled.
#[derive(Debug)]
pub struct HeldDelivery {
    /// Identifies it on its channel.
    pub tag: u64,
    is_first_pass: bool,
    trace: ha_trace::Context,
    /// Ends with this.
    _span: ha_trace::Span,
}

impl HeldDelivery {
    /// Of a queue that producers publish to (`is_of_producers`), or that workers do.
    #[must_use]
    pub fn new(delivery: &Delivery, is_of_producers: bool) -> Self {
        let (span, trace) = process(delivery, is_of_producers);
        Self {
            trace,
            _span: span,
            tag: delivery.tag,
            is_first_pass: is_of_producers
                && !delivery.is_redelivered
                && delivery.delivery_count == 0
                && delivery.header_number(HEADER_AGAIN).is_none()
                && ha_dead_letters::replay(delivery).is_none(),
        }
    }
}

impl AckHandle for HeldDelivery {
    fn is_first_pass(&self) -> bool {
        self.is_first_pass
    }

    fn trace(&self) -> Option<&ha_trace::Context> {
        Some(&self.trace)
    }
}

fn process(delivery: &Delivery, is_of_producers: bool) -> (ha_trace::Span, ha_trace::Context) {
    if !ha_trace::is_on() {
        return Default::default();
    }
    let queue = if is_of_producers {
        topology::EVENTS_QUEUE
    } else {
        topology::SUSPECTS_QUEUE
    };
    let sent = delivery.header_text(ha_trace::HEADER);
    let span = ha_trace::process(sent.as_deref(), queue);
    let context = span.context();
    (span, context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_pipeline::dead_letter::{HEADER_FIRST_FAILED_AT, HEADER_REPLAYS};
    use lapin::types::{AMQPValue, FieldTable};

    #[test]
    fn only_a_delivery_that_nobody_had_before_is_a_first_pass() {
        let delivery = |headers: &[&str], delivery_count, is_redelivered| {
            let mut table = FieldTable::default();
            for name in headers {
                table.insert((*name).into(), AMQPValue::LongLongInt(1));
            }
            Delivery {
                tag: 7,
                payload: Vec::new(),
                delivery_count,
                is_redelivered,
                headers: table,
            }
        };
        let is_first = |delivery: Delivery, is_of_producers| {
            HeldDelivery::new(&delivery, is_of_producers).is_first_pass()
        };
        assert!(is_first(delivery(&["x-ha-count"], 0, false), true));
        assert!(!is_first(delivery(&[], 0, false), false), "a suspect");
        assert!(!is_first(delivery(&[], 1, false), true), "counted");
        assert!(
            !is_first(delivery(&[], 0, true), true),
            "not counted by RabbitMQ 4.3"
        );
        assert!(
            !is_first(delivery(&[HEADER_AGAIN], 0, false), true),
            "offered again"
        );
        let replayed = [HEADER_REPLAYS, HEADER_FIRST_FAILED_AT];
        assert!(
            !is_first(delivery(&replayed, 0, false), true),
            "a dead letter"
        );
    }
}
