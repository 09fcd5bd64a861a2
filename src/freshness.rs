//! How long an answer may be used: what the backend's `Cache-Control` says of it (RFC 9111). Pure: header text in,
//! durations out.

use std::time::Duration;

/// The longest time that counts, ten years: what a header says past that is meant as "for ever".
const FOR_EVER: u64 = 10 * 365 * 24 * 3600;

/// How long one answer may be used, from its arrival on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Its life: so long it is used without asking again.
    pub life: Duration,
    /// Past its life, so long it may serve while the backends fail.
    pub stale: Duration,
}

impl Freshness {
    /// What the header fields `Cache-Control` and `Age` of a response say; `silent` counts where they say nothing.
    pub fn told<'a>(
        cache_control: impl IntoIterator<Item = &'a str>,
        age: Option<&str>,
        silent: Freshness,
    ) -> Freshness {
        let (mut told, mut no_cache, mut must_revalidate) = (silent, false, false);
        for directive in cache_control.into_iter().flat_map(|field| field.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "max-age" => told.life = seconds(value).saturating_sub(age.map(seconds).unwrap_or_default()),
                "stale-if-error" => told.stale = seconds(value),
                "no-store" => return Freshness { life: Duration::ZERO, stale: Duration::ZERO },
                "no-cache" => no_cache = true,
                "must-revalidate" => must_revalidate = true,
                _ => {}
            }
        }
        // Not to be used again without asking (section 5.2.2.4), never when it is stale (section 5.2.2.2).
        Freshness {
            life: if no_cache { Duration::ZERO } else { told.life },
            stale: if must_revalidate { Duration::ZERO } else { told.stale },
        }
    }
}

/// A number of seconds, quoted or not. One that cannot be read is taken for 0: an answer whose life is unclear is stale
/// (section 4.2.1).
fn seconds(text: &str) -> Duration {
    let digits = text.trim().trim_matches('"');
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Digits alone fail to be read only where there are too many of them.
    let seconds = if all_digits { digits.parse().unwrap_or(FOR_EVER) } else { 0 };
    Duration::from_secs(seconds.min(FOR_EVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Freshness = Freshness { life: Duration::from_secs(10), stale: Duration::from_secs(60) };

    fn told(fields: &[&str]) -> (u64, u64) {
        let told = Freshness::told(fields.iter().copied(), None, SILENT);
        (told.life.as_secs(), told.stale.as_secs())
    }

    #[test]
    fn directives() {
        for (fields, expected) in [
            (&[][..], (10, 60)),
            (&["public"], (10, 60)),
            (&["max-age=1"], (1, 60)),
            (&["Max-Age=\"7\" , private"], (7, 60)),
            (&["max-age=0"], (0, 60)),
            (&["max-age=5, stale-if-error=3600"], (5, 3600)),
            (&["max-age=5", "stale-if-error=0"], (5, 0)),
            (&["no-store"], (0, 0)),
            (&["max-age=5, no-store", "stale-if-error=9"], (0, 0)),
            (&["no-cache, max-age=5"], (0, 60)),
            (&["must-revalidate, max-age=5, stale-if-error=9"], (5, 0)),
            (&["max-age=soon"], (0, 60)),
            (&["max-age"], (0, 60)),
            (&["max-age=-1"], (0, 60)),
            (&["max-age=99999999999999999999999"], (FOR_EVER, 60)),
            (&["", ",,=,"], (10, 60)),
        ] {
            assert_eq!(told(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_answer_out_of_another_cache_has_aged_there() {
        let life = |age| Freshness::told(["max-age=10"], Some(age), SILENT).life.as_secs();
        assert_eq!([life("0"), life("4"), life("11"), life("?")], [10, 6, 0, 10]);
    }
}
