//! What can be wrong with a configuration.

/// Why a [`Config`](crate::Config) makes no router.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Numbers that depend on each other don't fit.
    #[error("it must hold that {0}")]
    Order(&'static str),
    /// A number is not in its range: of the wrong sign, not finite, or a decay that is not between 0 and 1.
    #[error("{name} must not be {value}")]
    OutOfRange {
        /// Of which field.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A number must be at least 1.
    #[error("{0} must not be 0")]
    Zero(&'static str),
    /// A time is too short to be of use.
    #[error("{0} is too short")]
    TooShort(&'static str),
    /// A time is so long that adding it up could overflow.
    #[error("{0} is longer than a year")]
    TooLong(&'static str),
    /// The prefix makes no protocol name.
    #[error("the prefix must make a protocol name: start with '/', and be short")]
    Prefix,
    /// No version is left to speak.
    #[error("at least one version must be spoken")]
    NoVersions,
}
