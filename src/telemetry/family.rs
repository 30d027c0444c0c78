//! Metric families whose children are resolved once, so that recording is one atomic add.

use std::marker::PhantomData;
use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::labels::Label;

/// One counter per value of a label.
#[derive(Clone, Debug)]
pub struct Counters<L> {
    children: Box<[IntCounter]>,
    label: PhantomData<L>,
}

impl<L: Label> Counters<L> {
    /// Adds one.
    pub fn inc(&self, label: L) {
        self.children[label.index()].inc();
    }

    /// Adds `n`.
    pub fn add(&self, label: L, n: u64) {
        self.children[label.index()].inc_by(n);
    }

    /// What was counted so far.
    pub fn get(&self, label: L) -> u64 {
        self.children[label.index()].get()
    }

    /// The counter of one value.
    pub fn child(&self, label: L) -> &IntCounter {
        &self.children[label.index()]
    }
}

/// One counter per pair of values of two labels.
#[derive(Clone, Debug)]
pub struct CounterGrid<A, B> {
    children: Box<[IntCounter]>,
    labels: PhantomData<(A, B)>,
}

impl<A: Label, B: Label> CounterGrid<A, B> {
    /// Adds one.
    pub fn inc(&self, a: A, b: B) {
        self.child(a, b).inc();
    }

    /// What was counted so far.
    pub fn get(&self, a: A, b: B) -> u64 {
        self.child(a, b).get()
    }

    fn child(&self, a: A, b: B) -> &IntCounter {
        &self.children[a.index() * B::ALL.len() + b.index()]
    }
}

/// One gauge per value of a label.
#[derive(Clone, Debug)]
pub struct Gauges<L> {
    children: Box<[IntGauge]>,
    label: PhantomData<L>,
}

impl<L: Label> Gauges<L> {
    /// Sets the gauge of one value.
    pub fn set(&self, label: L, to: i64) {
        self.children[label.index()].set(to);
    }

    /// The gauge of one value as it is.
    pub fn get(&self, label: L) -> i64 {
        self.children[label.index()].get()
    }
}

/// Gauges with labels that an operator chose in the configuration, which bounds their number.
#[derive(Clone, Debug)]
pub struct NamedGauges<const N: usize>(IntGaugeVec);

impl<const N: usize> NamedGauges<N> {
    /// These are all there are.
    pub fn replace<'a>(&self, gauges: impl Iterator<Item = ([&'a str; N], i64)>) {
        self.0.reset();
        for (labels, value) in gauges {
            self.0.with_label_values(&labels).set(value);
        }
    }

    /// Sets one of them.
    pub fn set(&self, labels: [&str; N], to: i64) {
        self.0.with_label_values(&labels).set(to);
    }

    /// Takes one of them away.
    pub fn remove(&self, labels: [&str; N]) {
        // One that is not there is gone already.
        let _ = self.0.remove_label_values(&labels);
    }

    /// The gauge of these labels as it is.
    pub fn get(&self, labels: [&str; N]) -> i64 {
        self.0.with_label_values(&labels).get()
    }
}

/// One histogram of seconds per value of a label.
#[derive(Clone, Debug)]
pub struct Histograms<L> {
    children: Box<[Histogram]>,
    label: PhantomData<L>,
}

impl<L: Label> Histograms<L> {
    /// Records one duration.
    pub fn observe(&self, label: L, took: Duration) {
        self.children[label.index()].observe(took.as_secs_f64());
    }

    /// How many durations were recorded.
    pub fn count(&self, label: L) -> u64 {
        self.children[label.index()].get_sample_count()
    }
}

/// Registers families under the prefix `cutwater_`.
#[derive(Debug)]
pub(super) struct Families<'a>(pub(super) &'a Registry);

impl Families<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::with_opts(options(name, help))?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    pub(super) fn counters<L: Label>(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> prometheus::Result<Counters<L>> {
        let family = IntCounterVec::new(options(name, help), &[label])?;
        self.0.register(Box::new(family.clone()))?;
        let children = L::ALL
            .iter()
            .map(|value| family.get_metric_with_label_values(&[value.as_str()]));
        Ok(Counters {
            children: children.collect::<Result<_, _>>()?,
            label: PhantomData,
        })
    }

    pub(super) fn grid<A: Label, B: Label>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
    ) -> prometheus::Result<CounterGrid<A, B>> {
        let family = IntCounterVec::new(options(name, help), &labels)?;
        self.0.register(Box::new(family.clone()))?;
        let children = A::ALL.iter().flat_map(|a| {
            let family = &family;
            B::ALL
                .iter()
                .map(move |b| family.get_metric_with_label_values(&[a.as_str(), b.as_str()]))
        });
        Ok(CounterGrid {
            children: children.collect::<Result<_, _>>()?,
            labels: PhantomData,
        })
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::with_opts(options(name, help))?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    pub(super) fn gauges<L: Label>(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> prometheus::Result<Gauges<L>> {
        let family = IntGaugeVec::new(options(name, help), &[label])?;
        self.0.register(Box::new(family.clone()))?;
        let children = L::ALL
            .iter()
            .map(|value| family.get_metric_with_label_values(&[value.as_str()]));
        Ok(Gauges {
            children: children.collect::<Result<_, _>>()?,
            label: PhantomData,
        })
    }

    pub(super) fn named_gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> prometheus::Result<NamedGauges<N>> {
        let family = IntGaugeVec::new(options(name, help), &labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(NamedGauges(family))
    }

    /// A gauge with one constant label.
    pub(super) fn constant(
        &self,
        name: &str,
        help: &str,
        label: Option<(&str, &str)>,
        value: f64,
    ) -> prometheus::Result<()> {
        let mut options = options(name, help);
        if let Some((name, value)) = label {
            options = options.const_label(name, value);
        }
        let gauge = Gauge::with_opts(options)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    pub(super) fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        let histogram = Histogram::with_opts(histogram_options(name, help))?;
        self.0.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    pub(super) fn histograms<L: Label>(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> prometheus::Result<Histograms<L>> {
        let family = HistogramVec::new(histogram_options(name, help), &[label])?;
        self.0.register(Box::new(family.clone()))?;
        let children = L::ALL
            .iter()
            .map(|value| family.get_metric_with_label_values(&[value.as_str()]));
        Ok(Histograms {
            children: children.collect::<Result<_, _>>()?,
            label: PhantomData,
        })
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("cutwater_{name}"), help)
}

/// From a loopback answer (0.5 ms) to the longest default deadline (30 s).
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

fn histogram_options(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(format!("cutwater_{name}"), help).buckets(BUCKETS.to_vec())
}
