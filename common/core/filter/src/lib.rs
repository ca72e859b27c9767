//! Which entities are kept: Home Assistant's documented filter precedence
//! (<https://www.home-assistant.io/integrations/recorder/#configure-filter>), the one that users
//! know from `recorder`, `history` and `influxdb`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::HashSet;

/// The lists as the user gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRules {
    /// Domains to keep.
    pub include_domains: Vec<String>,
    /// Entity ids to keep.
    pub include_entities: Vec<String>,
    /// Patterns (`sensor.weather_*`) to keep.
    pub include_globs: Vec<String>,
    /// Domains to leave out.
    pub exclude_domains: Vec<String>,
    /// Entity ids to leave out.
    pub exclude_entities: Vec<String>,
    /// Patterns to leave out.
    pub exclude_globs: Vec<String>,
    /// Whether what a restart of Home Assistant writes in place of states is left out.
    pub exclude_restart_artefacts: bool,
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a pattern: {reason}")]
pub struct FilterError {
    /// As given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Why an entity is left out; the value of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilterReason {
    /// Its id is excluded.
    ExcludedEntity,
    /// A pattern excludes it.
    ExcludedGlob,
    /// Its domain is excluded.
    ExcludedDomain,
    /// There are includes, and none of them names it.
    NotIncluded,
    /// A restart of Home Assistant wrote it in place of a state.
    RestartArtefact,
}

impl FilterReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [
        Self::ExcludedEntity,
        Self::ExcludedGlob,
        Self::ExcludedDomain,
        Self::NotIncluded,
        Self::RestartArtefact,
    ];

    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExcludedEntity => "excluded_entity",
            Self::ExcludedGlob => "excluded_glob",
            Self::ExcludedDomain => "excluded_domain",
            Self::NotIncluded => "not_included",
            Self::RestartArtefact => "restart_artefact",
        }
    }

    /// For people, with the setting that decides.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::ExcludedEntity => "EXCLUDE_ENTITIES names it",
            Self::ExcludedGlob => "a pattern of EXCLUDE_GLOBS matches it",
            Self::ExcludedDomain => "EXCLUDE_DOMAINS names its domain",
            Self::NotIncluded => "there are INCLUDE_ settings, and none of them names it",
            Self::RestartArtefact => {
                "a restart of Home Assistant wrote it in the place of a state \
                 (RESTART_ARTEFACTS=filter)"
            }
        }
    }
}

/// The compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    include_domains: HashSet<String>,
    include_entities: HashSet<String>,
    include_globs: GlobSet,
    exclude_domains: HashSet<String>,
    exclude_entities: HashSet<String>,
    exclude_globs: GlobSet,
    exclude_restart_artefacts: bool,
}

impl Filter {
    /// Compiles the rules.
    ///
    /// # Errors
    /// A pattern that cannot be read.
    pub fn new(rules: FilterRules) -> Result<Self, FilterError> {
        Ok(Self {
            include_globs: globs(&rules.include_globs)?,
            exclude_globs: globs(&rules.exclude_globs)?,
            exclude_restart_artefacts: rules.exclude_restart_artefacts,
            include_domains: rules.include_domains.into_iter().collect(),
            include_entities: rules.include_entities.into_iter().collect(),
            exclude_domains: rules.exclude_domains.into_iter().collect(),
            exclude_entities: rules.exclude_entities.into_iter().collect(),
        })
    }

    /// Whether an event that only stands in for a state while Home Assistant starts is left out.
    /// What such an event is, is for those to say who can read it.
    #[must_use]
    pub fn excludes_restart_artefacts(&self) -> bool {
        self.exclude_restart_artefacts
    }

    /// Whether events of the entity are kept, and if not, why.
    ///
    /// # Errors
    /// The rule that leaves it out.
    pub fn decide(&self, entity_id: &str) -> Result<(), FilterReason> {
        if self.include_entities.contains(entity_id) {
            return Ok(());
        }
        if self.exclude_entities.contains(entity_id) {
            return Err(FilterReason::ExcludedEntity);
        }
        let domain = entity_id
            .split_once('.')
            .map_or(entity_id, |(domain, _)| domain);
        if !self.include_domains.is_empty() || !self.include_globs.is_empty() {
            if self.include_globs.is_match(entity_id) {
                return Ok(());
            }
            if self.exclude_globs.is_match(entity_id) {
                return Err(FilterReason::ExcludedGlob);
            }
            let included = self.include_domains.contains(domain);
            return if included {
                Ok(())
            } else {
                Err(FilterReason::NotIncluded)
            };
        }
        if !self.exclude_domains.is_empty() || !self.exclude_globs.is_empty() {
            if self.exclude_globs.is_match(entity_id) {
                return Err(FilterReason::ExcludedGlob);
            }
            let excluded = self.exclude_domains.contains(domain);
            return if excluded {
                Err(FilterReason::ExcludedDomain)
            } else {
                Ok(())
            };
        }
        let nothing_included = self.include_entities.is_empty();
        if nothing_included {
            Ok(())
        } else {
            Err(FilterReason::NotIncluded)
        }
    }
}

/// Python's `fnmatch`, which Home Assistant uses, knows no braces.
fn globs(patterns: &[String]) -> Result<GlobSet, FilterError> {
    let error = |pattern: &str, error: &globset::Error| FilterError {
        pattern: pattern.to_owned(),
        reason: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let plain = pattern.replace('{', "[{]").replace('}', "[}]");
        let glob = GlobBuilder::new(&plain).backslash_escape(false).build();
        set.add(glob.map_err(|e| error(pattern, &e))?);
    }
    set.build().map_err(|e| error(&patterns.join(","), &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+d:light` includes a domain, `-e:light.a` excludes an entity, `g` is for patterns.
    fn filter(rules: &str) -> Filter {
        let mut lists = FilterRules::default();
        for rule in rules.split_whitespace() {
            let (kind, name) = rule.split_once(':').unwrap();
            match kind {
                "+d" => &mut lists.include_domains,
                "+e" => &mut lists.include_entities,
                "+g" => &mut lists.include_globs,
                "-d" => &mut lists.exclude_domains,
                "-e" => &mut lists.exclude_entities,
                "-g" => &mut lists.exclude_globs,
                other => panic!("{other}"),
            }
            .push(name.to_owned());
        }
        Filter::new(lists).unwrap()
    }

    #[test]
    fn home_assistants_documented_cases() {
        use FilterReason::{ExcludedDomain, ExcludedEntity, ExcludedGlob, NotIncluded};
        for (rules, entity, expected) in [
            // 1: neither.
            ("", "light.a", Ok(())),
            // 2: includes only.
            ("+d:light +e:sensor.x +g:switch.k_*", "light.a", Ok(())),
            ("+d:light +e:sensor.x +g:switch.k_*", "sensor.x", Ok(())),
            ("+d:light +e:sensor.x +g:switch.k_*", "switch.k_1", Ok(())),
            (
                "+d:light +e:sensor.x +g:switch.k_*",
                "sensor.y",
                Err(NotIncluded),
            ),
            // 3: excludes only.
            (
                "-d:light -e:sensor.x -g:switch.k_*",
                "light.a",
                Err(ExcludedDomain),
            ),
            (
                "-d:light -e:sensor.x -g:switch.k_*",
                "sensor.x",
                Err(ExcludedEntity),
            ),
            (
                "-d:light -e:sensor.x -g:switch.k_*",
                "switch.k_1",
                Err(ExcludedGlob),
            ),
            ("-d:light -e:sensor.x -g:switch.k_*", "sensor.y", Ok(())),
            // 4: domain or glob includes, with excludes.
            ("+d:light -e:light.a", "light.a", Err(ExcludedEntity)),
            ("+d:light -g:light.k_*", "light.k_1", Err(ExcludedGlob)),
            ("+d:light +g:light.k_1 -g:light.k_*", "light.k_1", Ok(())),
            ("+d:light +e:light.k_1 -g:light.k_*", "light.k_1", Ok(())),
            ("+d:light -d:light", "light.a", Ok(())),
            ("+g:*.kitchen -d:light", "sensor.hall", Err(NotIncluded)),
            // 5: domain or glob excludes, with entity includes only.
            ("-d:light +e:light.a", "light.a", Ok(())),
            ("-d:light +e:light.a", "light.b", Err(ExcludedDomain)),
            ("-d:light +e:light.a", "sensor.b", Ok(())),
            ("-g:*_b +e:light.a", "sensor.x_b", Err(ExcludedGlob)),
            // 6: entities only.
            ("+e:light.a -e:light.b", "light.a", Ok(())),
            ("+e:light.a -e:light.b", "light.b", Err(ExcludedEntity)),
            ("+e:light.a -e:light.b", "light.c", Err(NotIncluded)),
        ] {
            assert_eq!(filter(rules).decide(entity), expected, "{rules} | {entity}");
        }
    }

    #[test]
    fn patterns_are_those_of_fnmatch() {
        for (pattern, entity, matches) in [
            ("sensor.?", "sensor.a", true),
            ("sensor.?", "sensor.ab", false),
            ("sensor.[ab]", "sensor.b", true),
            ("sensor.[!ab]", "sensor.b", false),
            ("*", "sensor.b", true),
            ("sensor.{a,b}", "sensor.a", false),
        ] {
            assert_eq!(
                filter(&format!("+g:{pattern}")).decide(entity).is_ok(),
                matches,
                "{pattern}"
            );
        }
        let rules = FilterRules {
            include_globs: vec!["sensor.[a".into()],
            ..FilterRules::default()
        };
        assert_eq!(Filter::new(rules).unwrap_err().pattern, "sensor.[a");
    }
}
