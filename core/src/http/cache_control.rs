// SPDX-License-Identifier: MPL-2.0
//! `Cache-Control` and `Age` → [`Freshness`]: how long a service lets its answer be used
//! (RFC 9111).

use std::time::Duration;

use crate::cache::Freshness;

/// The longest time that counts, ten years in seconds. A header that names a longer time means "for
/// ever".
pub const FOR_EVER: u64 = 10 * 365 * 24 * 3600;

/// What the header fields `Cache-Control` and `Age` of a response say. `silent` counts where they
/// say nothing.
pub fn freshness<'a>(
    cache_control: impl IntoIterator<Item = &'a str>,
    age: Option<&str>,
    silent: Freshness,
) -> Freshness {
    let (mut told, mut no_cache, mut must_revalidate) = (silent, false, false);
    for directive in cache_control.into_iter().flat_map(|field| field.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "max-age" => {
                // The answer has aged in the caches between the service and the hook.
                let age = age.map(seconds).unwrap_or_default();
                told.fresh_for = seconds(value).saturating_sub(age);
            }
            "stale-if-error" => told.stale_for = seconds(value),
            "no-store" => {
                return Freshness { fresh_for: Duration::ZERO, stale_for: Duration::ZERO };
            }
            "no-cache" => no_cache = true,
            "must-revalidate" => must_revalidate = true,
            _ => {}
        }
    }
    Freshness {
        // Each use needs a request (RFC 9111, section 5.2.2.4).
        fresh_for: if no_cache { Duration::ZERO } else { told.fresh_for },
        // A stale answer must not serve (RFC 9111, section 5.2.2.2).
        stale_for: if must_revalidate { Duration::ZERO } else { told.stale_for },
    }
}

/// A number of seconds, quoted or not. Text that is no number counts as 0: an answer whose
/// freshness is unclear is stale (RFC 9111, section 4.2.1).
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

    const SILENT: Freshness =
        Freshness { fresh_for: Duration::from_secs(10), stale_for: Duration::from_secs(60) };

    fn told(fields: &[&str]) -> (u64, u64) {
        let told = freshness(fields.iter().copied(), None, SILENT);
        (told.fresh_for.as_secs(), told.stale_for.as_secs())
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
        let fresh = |age| freshness(["max-age=10"], Some(age), SILENT).fresh_for.as_secs();
        assert_eq!([fresh("0"), fresh("4"), fresh("11"), fresh("?")], [10, 6, 0, 10]);
    }
}
