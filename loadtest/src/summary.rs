//! What a tour of scenarios comes to, in sentences.

use crate::outcome::Outcome;
use crate::report::{time_text, value_text};

/// A sentence for each of `outcomes`.
pub(crate) fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from("\nin short\n");
    for sentence in outcomes.iter().filter_map(sentence) {
        text.push_str("  ");
        text.push_str(&sentence);
        text.push('\n');
    }
    let violations = outcomes.iter().filter(|outcome| !outcome.is_clean()).count();
    text.push_str(match violations {
        0 => "  nothing was lost, repeated or out of order\n",
        _ => "  VIOLATIONS: see above\n",
    });
    text
}

fn sentence(outcome: &Outcome) -> Option<String> {
    let figure = |key: &str| {
        let figure = outcome.figure_of(key)?;
        Some(value_text(figure.value, figure.unit))
    };
    let percentile = |key: &str, percentile: f64| {
        let histogram = outcome.latency_of(Some(key))?.histogram();
        Some(time_text(histogram.value_at_percentile(percentile) as f64))
    };
    let cpu =
        |key: &str| figure(key).map_or(String::new(), |cpu| format!(", {cpu} of server CPU each"));
    Some(match outcome.scenario {
        "connect" => format!(
            "connect: {} connections open and subscribed in {} ({})",
            figure("opened")?,
            figure("all_ns")?,
            figure("rate")?
        ),
        "idle" => format!(
            "idle: the server keeps {} of memory per connection, {} of it its own",
            figure("resident_each")?,
            figure("private_each")?
        ),
        "echo" => format!(
            "echo: {}{}; 99 % are back within {}, the server being flooded",
            figure("rate")?,
            cpu("server_cpu_ns_per_message"),
            percentile("round_trip", 99.0)?
        ),
        "fanout" => format!(
            "fanout: {} deliveries{}; half within {}, the last member of a message \
             within {} (99 %)",
            figure("delivered")?,
            cpu("server_cpu_ns_per_delivery"),
            percentile("delivery", 50.0)?,
            percentile("last", 99.0)?
        ),
        "broadcast" => format!(
            "broadcast, everyone to everyone: {} deliveries{}",
            figure("rate")?,
            cpu("server_cpu_ns_per_delivery")
        ),
        _ => return None,
    })
}
