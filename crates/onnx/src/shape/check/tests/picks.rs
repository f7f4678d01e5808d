//! What picks, places and names elements.

use super::*;

/// One operator over two-dimensional `x`, or that with more dimensions, and one operand of whole numbers.
fn with_ints(op: &'static str, x: &[usize], operand: Tensor) -> One {
    One::new(op, x, [operand])
}

fn scalar(value: i64) -> Tensor {
    Tensor::new(vec![], Data::I64(vec![value])).unwrap()
}

fn places(shape: &[usize]) -> Tensor {
    Tensor::new(shape.to_vec(), Data::I64(vec![0; shape.iter().product()])).unwrap()
}

#[test]
fn the_largest_of_so_many() {
    let top = |count: &[i64]| One { outputs: 2, ..with_ints("TopK", &[5], ints(count)) };
    top(&[5]).accepts(&[]);
    top(&[0]).accepts(&[]);
    for count in [6, -1, HUGE, i64::MIN] {
        top(&[count]).refuses_all(&format!("`k` is {count}, of 5 elements in dimension 1"), &[]);
    }
    // The batch may have any size.
    top(&[6]).accepts(&[("axis", Attribute::Int(0))]);
    top(&[1, 2]).refuses_all("`k` has 2 elements, but must have one", &[]);
    top(&[1]).refuses("axis", numbers([2, -3, HUGE]));
}

#[test]
fn ones_among_zeros() {
    let one_hot = |depth: Tensor, values: &[usize]| One::new("OneHot", &[3], [depth, zeros(values)]);
    one_hot(scalar(4), &[2]).accepts(&[("axis", Attribute::Int(-3))]);
    one_hot(ints(&[4]), &[2]).accepts(&[("axis", Attribute::Int(2))]);
    one_hot(scalar(4), &[2]).refuses("axis", numbers([3, -4, HUGE]));
    one_hot(scalar(0), &[2]).refuses_all("`depth` is 0", &[]);
    one_hot(ints(&[4, 4]), &[2]).refuses_all("`depth` has 2 elements", &[]);
    for values in [&[3][..], &[], &[1, 2]] {
        one_hot(scalar(4), values).refuses_all("`values` are not two", &[]);
    }
}

#[test]
fn equations_speak_of_dimensions() {
    let einsum = |equation: &str| {
        let one = One::new("Einsum", &[3, 4], [zeros(&[4, 5])]);
        one.says(&[("equation", text(equation))])
    };
    for good in
        ["bij,jk->bik", "bij, jk -> bik", "...j,jk->...k", "bij,jk", "bij,...k->b", "BIj,jK->IKB", "aij,jk->"]
    {
        assert_eq!(einsum(good), "", "{good}");
    }
    for (equation, said) in [
        ("bij,ik->bjk", "in which `i` has 3 and 4 elements"),
        ("bij->bi", "speaks of 1 operands, of 2"),
        ("bij,jk,kl->bil", "speaks of 3 operands, of 2"),
        ("bj,jk->bk", "names 2 of 3 dimensions of operand 1"),
        ("bijk...,jk->b", "names 4 of 3 dimensions of operand 1"),
        ("bij,jk->bz", "`z` that no operand has"),
        ("bij,jk->bb", "or that it has already"),
        ("b1j,jk->bk", "`1` names no dimension"),
        ("bij,jk->b->k", "names no dimension"),
        ("", "speaks of 1 operands"),
    ] {
        let error = einsum(equation);
        assert!(error.contains("`equation` is") && error.contains(said), "{equation}: {error}");
    }
    One::new("Einsum", &[3, 4], [zeros(&[4, 5])]).refuses_all("it has no `equation`", &[]);
}

#[test]
fn regions_and_grids() {
    let regions =
        |boxes: &[usize], images: &[usize]| One::new("RoiAlign", &[3, 8, 8], [zeros(boxes), places(images)]);
    regions(&[2, 4], &[2]).accepts(&[("output_height", Attribute::Int(3)), ("mode", text("max"))]);
    regions(&[2, 4], &[3]).refuses_all("2 boxes, but 3 numbers of images", &[]);
    regions(&[2, 5], &[2]).refuses_all("its boxes have 5 sides", &[]);
    regions(&[4], &[4]).refuses_all("operand 2 has 1 dimension, but must have 2", &[]);
    for (name, value) in [
        ("output_height", Attribute::Int(0)),
        ("output_width", Attribute::Int(-1)),
        ("sampling_ratio", Attribute::Int(-1)),
        ("mode", text("min")),
        ("coordinate_transformation_mode", text("none")),
    ] {
        regions(&[2, 4], &[2]).refuses(name, [value]);
    }
    let grid = |shape: &[usize]| One::new("GridSample", &[3, 8, 8], [zeros(shape)]);
    grid(&[2, 5, 5, 2]).accepts(&[("padding_mode", text("border"))]);
    grid(&[2, 5, 5, 3]).refuses_all("3 coordinates in 2 dimensions", &[]);
    grid(&[2, 5, 2]).refuses_all("operands of 4 and 3 dimensions", &[]);
    grid(&[2, 5, 5, 2]).refuses("padding_mode", [text("mirror")]);
}

#[test]
fn places_have_the_dimensions_of_what_they_are_in() {
    let elements = |shape: &[usize]| with_ints("GatherElements", &[3, 2], places(shape));
    elements(&[1, 3, 2]).accepts(&[("axis", Attribute::Int(-1))]);
    elements(&[3, 2]).refuses_all("its places have 2 dimensions, of 3", &[]);
    elements(&[1, 3, 2]).refuses("axis", numbers([3, -4]));
    let paths = |shape: &[usize]| with_ints("GatherND", &[3, 2], places(shape));
    paths(&[4, 3]).accepts(&[]);
    paths(&[4, 2]).accepts(&[("batch_dims", Attribute::Int(1))]);
    paths(&[4, 4]).refuses_all("lead into 4 dimensions, of 3", &[]);
    paths(&[4, 3]).refuses_all("lead into 3 dimensions, of 2", &[("batch_dims", Attribute::Int(1))]);
    paths(&[4, 3]).refuses("batch_dims", numbers([-1, 2, 3, HUGE]));
    paths(&[]).refuses_all("have no dimension", &[]);
    let expand = |sizes: &[i64]| with_ints("Expand", &[3, 1], ints(sizes));
    expand(&[3, 7]).accepts(&[]);
    expand(&[5, 1, 1, 7]).accepts(&[]);
    expand(&[1]).accepts(&[]);
    for sizes in [&[4, 7][..], &[-1, 3, 7], &[HUGE, 1], &[0, 1]] {
        expand(sizes).refuses_all("`shape` is", &[]);
    }
    with_ints("CumSum", &[3], scalar(-2)).accepts(&[]);
    with_ints("CumSum", &[3], scalar(2)).refuses_all("`axis` is 2 for 2 dimensions", &[]);
    with_ints("CumSum", &[3], scalar(1)).refuses("exclusive", numbers([2, -1]));
    let reverse = |lengths: &[i64]| with_ints("ReverseSequence", &[3], ints(lengths));
    reverse(&[1, 2, 3]).accepts(&[]);
    reverse(&[1, 2]).refuses_all("2 lengths for 3 sequences", &[]);
    reverse(&[1, 2, 3]).refuses("batch_axis", numbers([0, 2, -1]));
}

#[test]
fn numbers_that_must_be_one() {
    let clip = |least: &[usize]| One::new("Clip", &[3], [zeros(least)]);
    clip(&[]).accepts(&[]);
    clip(&[1]).accepts(&[]);
    clip(&[3]).refuses_all("`min` has 3 elements", &[]);
    clip(&[1, 1]).refuses_all("`min` has 2 dimensions", &[]);
    let quantize = |scale: &[usize], point: &[usize]| {
        let point = Tensor::new(point.to_vec(), Data::U8(vec![0; point.iter().product()])).unwrap();
        One::new("QuantizeLinear", &[3, 2], [zeros(scale), point])
    };
    quantize(&[], &[]).accepts(&[]);
    quantize(&[3], &[3]).accepts(&[]);
    for (scale, point) in [(&[][..], &[3][..]), (&[1], &[3]), (&[3], &[2]), (&[3], &[])] {
        quantize(scale, point).refuses_all("zero points are not as many as its scales", &[]);
    }
}

#[test]
fn deformed_windows_and_those_in_integers() {
    let deformed = |offsets: usize| {
        One::new("DeformConv", &[4, 6, 6], [zeros(&[5, 4, 3, 3]), zeros(&[1, offsets, 4, 4])])
    };
    deformed(18).accepts(&[]);
    deformed(36).accepts(&[("offset_group", Attribute::Int(2))]);
    deformed(18).refuses("offset_group", numbers([2, 0, -1, HUGE]));
    deformed(18).refuses("kernel_shape", lists([&[2, 2], &[3]]));
    let bytes =
        |shape: &[usize]| Tensor::new(shape.to_vec(), Data::U8(vec![0; shape.iter().product()])).unwrap();
    let quantized = |scales: usize, points: usize, biases: usize, x_scale: usize| {
        let biases = Tensor::new(vec![biases], Data::I32(vec![0; biases])).unwrap();
        let weights = [bytes(&[5, 4, 3, 3]), zeros(&[scales]), bytes(&[points])];
        let [weight, scales, points] = weights;
        let operands =
            [zeros(&[x_scale]), bytes(&[]), weight, scales, points, zeros(&[]), bytes(&[]), biases];
        One::new("QLinearConv", &[4, 6, 6], operands)
    };
    quantized(5, 5, 5, 1).accepts(&[]);
    quantized(1, 1, 5, 1).accepts(&[]);
    quantized(4, 5, 5, 1).refuses_all("`w_scale` has 4 elements for 5 output channels", &[]);
    quantized(5, 4, 5, 1).refuses_all("`w_zero_point` has 4", &[]);
    quantized(5, 5, 1, 1).refuses_all("`B` has 1", &[]);
    quantized(5, 5, 5, 4).refuses_all("`x_scale` has 4", &[]);
    let unpool = |shape: &[usize]| One::new("MaxUnpool", &[1, 2, 2], [places(shape)]);
    let kernel = ("kernel_shape", list(&[2, 2]));
    unpool(&[1, 1, 2, 2]).accepts(std::slice::from_ref(&kernel));
    unpool(&[1, 1, 2, 3]).refuses_all("its places have another shape", &[kernel]);
}

#[test]
fn sizes_are_given_once() {
    let resize = |scales: &[f32], sizes: &[i64]| One {
        operands: vec![None, Some(floats(scales)), Some(ints(sizes))],
        ..One::new("Resize", &[3, 2], [])
    };
    resize(&[], &[1, 3, 4]).accepts(&[]);
    resize(&[1.0, 1.0, 2.0], &[]).accepts(&[]);
    resize(&[], &[]).refuses_all("neither `scales` nor `sizes`", &[]);
    resize(&[], &[3, 4]).accepts(&[("axes", list(&[1, -1]))]);
    resize(&[], &[3, 4]).refuses_all("names a dimension twice", &[("axes", list(&[2, -1]))]);
    resize(&[], &[1, 3, 4]).refuses("nearest_mode", [text("round")]);
    resize(&[], &[1, 3, 4]).refuses("coordinate_transformation_mode", [text("centre")]);
}
