//! Params of the op `download`, and the JSON Schema made from them.

use dataset::{Colors, Fit, MAX_BYTES, MAX_LEFT_OUT, PictureOptions, PictureSize, Synthetic, TestShare};
use protocol::Failure;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// Which images become the test split where no seed is given.
const SEED: u64 = 42;

/// Params of `download`. Those that came later have no defaults in the schema, so that they are no part of the key of
/// a stage that does not give them.
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
    /// Width and height that all images of `image-folder` and `pictures` get: a number of pixels, or `width` and
    /// `height`. Without it they must have one size already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image_size: Option<ImageSize>,
    /// How images get `image_size` where their proportions are others: `crop` cuts off what sticks out, as by default,
    /// and `resize` scales width and height each by itself. Both scale with antialiasing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fit: Option<Fit>,
    /// How many values a pixel of `image-folder` and `pictures` has: 3, red, green and blue, as by default, or 1, their luminance by
    /// ITU-R BT.601, which is (19595 R + 38470 G + 7471 B + 32768) / 65536 rounded down, as Pillow's `convert("L")` gives it. Grey
    /// files have three equal values by default, and their own by 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub(crate) channels: Option<u8>,
    /// Share of the images of `image-folder` to test on where no folder `test` is there, such as 0.2: of each class,
    /// drawn with `seed`, at least one. Then folders of classes alone are enough, without `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub(crate) test: Option<f64>,
    /// Which images `test` takes; 42 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Whether `pictures` passes over those that are set apart, to test or to validate on: what lies in a folder `test`, `val`,
    /// `valid`, `validation`, `dev` or `eval` beside a folder `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train_only: Option<bool>,
    /// Largest share of the files of `image-folder` and `pictures` that may be left out because they are no images of
    /// a format that is read, or lie outside of the classes; 0.1 by default. Texts, and hidden files that are no images, do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) max_left_out: Option<f64>,
    /// Most bytes that the pixels of all images may take in memory, one for each of red, green and blue, or for grey; 8 GiB by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_bytes: Option<u64>,
    /// Most bytes that a file may have that is fetched from a server. By default as many as the disk has room for where the
    /// server says how many come, and 16 GiB where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_download: Option<u64>,
}

/// A size of images.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ImageSize {
    /// As wide as high.
    Square(#[schemars(range(min = 1, max = 8192))] u32),
    /// Width and height.
    Sides(PictureSize),
}

impl DownloadParams {
    /// How pictures are read.
    ///
    /// # Errors
    /// Params that contradict each other, or that the format has no use for.
    pub(crate) fn pictures(&self) -> Result<PictureOptions, Failure> {
        let size = match self.image_size {
            None => None,
            Some(ImageSize::Square(side)) => Some([side; 2]),
            Some(ImageSize::Sides(size)) => Some([size.width() as u32, size.height() as u32]),
        };
        let size = match size.map(|[width, height]| PictureSize::new(width, height)) {
            None => None,
            Some(Some(size)) => Some(size),
            Some(None) => return Err(Failure::new("`image_size` goes from 1 to 8192 pixels a side")),
        };
        if self.fit.is_some() && size.is_none() {
            return Err(Failure::new("`fit` says how images get a size, but there is no `image_size`"));
        }
        let colors = match self.channels {
            None | Some(3) => Colors::Rgb,
            Some(1) => Colors::Grey,
            Some(other) => {
                return Err(Failure::new(format!(
                    "`channels` is {other}, but must be 1 (grey) or 3 (colors)"
                )));
            }
        };
        Ok(PictureOptions {
            colors,
            size,
            fit: self.fit.unwrap_or_default(),
            max_left_out: self.max_left_out.unwrap_or(MAX_LEFT_OUT),
            max_bytes: self.max_bytes(),
        })
    }

    /// Most bytes that pixels may take.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(MAX_BYTES)
    }

    /// The images to test on where a folder has none.
    ///
    /// # Errors
    /// A share that leaves nothing to train or to test on; a seed without one.
    pub(crate) fn test_share(&self) -> Result<Option<TestShare>, Failure> {
        let Some(share) = self.test else {
            return match self.seed {
                Some(_) => Err(Failure::new("`seed` says which images `test` takes, but there is no `test`")),
                None => Ok(None),
            };
        };
        let test = TestShare::new(share, self.seed.unwrap_or(SEED));
        test.map(Some).ok_or_else(|| Failure::new(format!("`test` is {share}, but must lie between 0 and 1")))
    }

    /// Refuses params that the format has no use for.
    ///
    /// # Errors
    /// The first of them.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let (folder, pictures) = (self.format == Format::ImageFolder, self.format == Format::Pictures);
        let given = [
            ("image_size", self.image_size.is_some(), folder || pictures),
            ("fit", self.fit.is_some(), folder || pictures),
            ("channels", self.channels.is_some(), folder || pictures),
            ("max_left_out", self.max_left_out.is_some(), folder || pictures),
            ("test", self.test.is_some(), folder),
            ("train_only", self.train_only.is_some(), pictures),
            ("seed", self.seed.is_some(), folder),
            ("max_bytes", self.max_bytes.is_some(), self.format != Format::Synthetic),
            ("max_download", self.max_download.is_some(), self.format != Format::Synthetic),
        ];
        let useless = given.into_iter().find(|(_, is_given, is_used)| *is_given && !is_used);
        if let Some((name, ..)) = useless {
            let format = serde_json::to_value(self.format)?;
            let format = format.as_str().unwrap_or_default();
            return Err(Failure::new(format!("`{name}` has no meaning where `format` is `{format}`")));
        }
        self.pictures()?;
        self.test_share()?;
        Ok(())
    }
}

/// Layouts of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// CIFAR-10's binary files: `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, `batches.meta.txt`.
    #[serde(rename = "cifar10-binary")]
    Cifar10Binary,
    /// Pictures in `train/CLASS/` and `test/CLASS/` and in folders below: JPEG, PNG, GIF (the first frame), WebP, BMP,
    /// TIFF and PNM, told by their content.
    ImageFolder,
    /// Pictures in any folders, without classes and without a test split: enough to calibrate on.
    Pictures,
    /// MNIST's files: `train-images-idx3-ubyte` and the three that go with it, plain or gzipped.
    Idx,
    /// Ten classes of 32×32 shapes and textures, drawn from a seed; needs no source.
    Synthetic,
}

fn mark_as_source(schema: &mut Schema) {
    schema.insert(protocol::SOURCE_KEYWORD.into(), true.into());
    schema.insert(protocol::IGNORE_KEYWORD.into(), true.into());
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
        assert_eq!(properties["source"][protocol::IGNORE_KEYWORD], true);
        assert_eq!(properties["synthetic"]["default"], json!({"train": 8000, "test": 2000, "seed": 42}));
        assert_eq!(properties["source"]["default"], json!(null));
        assert_eq!(schema["required"], json!(["format"]));
        assert_eq!(schema["additionalProperties"], false);
        for (name, property) in properties.as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        }
    }

    fn checked(params: serde_json::Value) -> Result<(), String> {
        let params: DownloadParams = serde_json::from_value(params).map_err(|error| error.to_string())?;
        params.check().map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn params_that_do_not_fit_together_are_refused() {
        let error = |params| checked(params).unwrap_err();
        let text = error(json!({"format": "idx", "image_size": 32}));
        snapshots::assert_message!(text);
        assert!(error(json!({"format": "pictures", "test": 0.2})).contains("`test` has no meaning"));
        assert!(error(json!({"format": "image-folder", "train_only": true})).contains("`train_only` has no"));
        assert!(error(json!({"format": "image-folder", "fit": "crop"})).contains("there is no `image_size`"));
        assert!(error(json!({"format": "image-folder", "seed": 1})).contains("there is no `test`"));
        for share in [0.0, 1.0, -0.5] {
            assert!(error(json!({"format": "image-folder", "test": share})).contains("between 0 and 1"));
        }
        assert!(error(json!({"format": "pictures", "channels": 2})).contains("must be 1 (grey) or 3"));
        assert!(error(json!({"format": "idx", "channels": 1})).contains("`channels` has no meaning"));
        assert!(error(json!({"format": "pictures", "image_size": 9000})).contains("from 1 to 8192"));
        assert!(error(json!({"format": "pictures", "image_size": {"width": 3}})).contains("ImageSize"));
    }

    #[test]
    fn sizes_are_a_number_or_two() {
        let size = |size| {
            let params = json!({"format": "pictures", "image_size": size, "fit": "resize"});
            let params: DownloadParams = serde_json::from_value(params).unwrap();
            params.check().unwrap();
            params.pictures().unwrap().size
        };
        assert_eq!(size(json!(32)), PictureSize::new(32, 32));
        assert_eq!(size(json!({"width": 32, "height": 24})), PictureSize::new(32, 24));
    }

    #[test]
    fn later_params_are_in_no_key_that_does_not_give_them() {
        let schema = serde_json::to_value(schemars::schema_for!(DownloadParams)).unwrap();
        for name in [
            "image_size",
            "fit",
            "channels",
            "test",
            "seed",
            "train_only",
            "max_left_out",
            "max_bytes",
            "max_download",
        ] {
            let property = &schema["properties"][name];
            assert!(property.is_object() && property.get("default").is_none(), "{name}: {property}");
        }
    }

    #[test]
    fn unknown_params_and_formats_are_refused() {
        let error = |params| serde_json::from_value::<DownloadParams>(params).unwrap_err().to_string();
        assert!(error(json!({"format": "idx", "url": "x"})).contains("unknown field `url`"));
        assert!(
            error(json!({"format": "cifar100"}))
                .contains("`cifar10-binary`, `image-folder`, `pictures`, `idx`")
        );
        assert!(error(json!({"format": "synthetic", "synthetic": {"trian": 1}})).contains("`trian`"));
    }
}
