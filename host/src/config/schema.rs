//! The JSON schema of `toril.toml`, from the types that read it.

use super::File;

/// For editors: names, types, defaults and what each key is for.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(File);
    schema.insert("title".into(), "toril.toml".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_knows_every_key_and_no_other() {
        let schema = schema();
        let at = |pointer: &str| {
            schema
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{pointer}"))
        };
        assert_eq!(at("/properties/grace_ms/default"), 30_000);
        assert_eq!(at("/additionalProperties"), false);
        assert_eq!(at("/$defs/QueueFile/properties/concurrency/default"), 50);
        let about = at("/$defs/QueueFile/properties/concurrency/description");
        assert!(
            about
                .as_str()
                .is_some_and(|text| text.starts_with("How many jobs may run at once"))
        );
        let keep = at("/$defs/QueueFile/properties/remove_on_complete").to_string();
        assert!(keep.contains("KeepInFile"), "{keep}");
        assert_eq!(at("/$defs/Limits/properties/deadline_ms/default"), 300_000);
        for key in ["secrets", "http", "queues", "stub"] {
            at(&format!("/$defs/GrantsFile/properties/{key}"));
        }
    }
}
