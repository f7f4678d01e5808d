//! Params of the op `download`, and the JSON Schema made from them.

use dataset::Synthetic;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// Params of `download`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DownloadParams {
    /// Where the images are: an `https://`, `http://` or `file://` URL, or a path. A .zip, .tar or .tar.gz archive,
    /// or a folder; for `idx` also the URL of a folder (ending in `/`) with the four standard files. A URL may end
    /// in `#md5=…`, `#sha256=…` or `#size=…` (several with `&`) instead of the params of these names. Not used by
    /// `synthetic`.
    #[serde(default)]
    #[schemars(transform = mark_as_source)]
    pub(crate) source: Option<String>,
    /// Layout of the images.
    pub(crate) format: Format,
    /// MD5 of the archive in hex, checked before it is read.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{32}$"))]
    pub(crate) md5: Option<String>,
    /// SHA-256 of the archive in hex, checked before it is read.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub(crate) sha256: Option<String>,
    /// Size of the archive in bytes, checked before it is read.
    #[serde(default)]
    pub(crate) size: Option<u64>,
    /// What to draw where `format` is `synthetic`.
    #[serde(default)]
    pub(crate) synthetic: Synthetic,
}

/// Layouts of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// CIFAR-10's binary files: `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, `batches.meta.txt`.
    #[serde(rename = "cifar10-binary")]
    Cifar10Binary,
    /// JPEG and PNG files in `train/CLASS/` and `test/CLASS/`, all of one size.
    ImageFolder,
    /// MNIST's files: `train-images-idx3-ubyte` and the three that go with it, plain or gzipped.
    Idx,
    /// Ten classes of 32×32 shapes and textures, drawn from a seed; needs no source.
    Synthetic,
}

fn mark_as_source(schema: &mut Schema) {
    schema.insert(protocol::SOURCE_KEYWORD.into(), true.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_schema_has_what_the_runner_relies_on() {
        let schema = serde_json::to_value(schemars::schema_for!(DownloadParams)).unwrap();
        let properties = &schema["properties"];
        assert_eq!(properties["source"][protocol::SOURCE_KEYWORD], true);
        assert_eq!(properties["synthetic"]["default"], json!({"train": 8000, "test": 2000, "seed": 42}));
        assert_eq!(properties["source"]["default"], json!(null));
        assert_eq!(schema["required"], json!(["format"]));
        assert_eq!(schema["additionalProperties"], false);
        for (name, property) in properties.as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        }
    }

    #[test]
    fn unknown_params_and_formats_are_refused() {
        let error = |params| serde_json::from_value::<DownloadParams>(params).unwrap_err().to_string();
        assert!(error(json!({"format": "idx", "url": "x"})).contains("unknown field `url`"));
        assert!(error(json!({"format": "cifar100"})).contains("`cifar10-binary`, `image-folder`, `idx`"));
        assert!(error(json!({"format": "synthetic", "synthetic": {"trian": 1}})).contains("`trian`"));
    }
}
