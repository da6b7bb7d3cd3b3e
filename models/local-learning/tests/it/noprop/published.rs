//! Parameter counts of the published sizes.

use super::*;
use burn::module::{Module, ModuleVisitor, Param};

/// Trained parameters, without drawing them: no running statistics, no fixed embeddings.
struct Count {
    path: Vec<String>,
    fixed: bool,
    sum: usize,
}

impl ModuleVisitor for Count {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let last = self.path.last().map_or("", String::as_str);
        let untrained = last.starts_with("running_") || (self.fixed && last == "embed");
        if !untrained {
            self.sum += param.lazy_shape().num_elements();
        }
    }
}

fn num_params<M: Module>(model: &M, embedding: Embedding) -> usize {
    let mut count = Count {
        path: Vec::new(),
        fixed: embedding == Embedding::OneHot,
        sum: 0,
    };
    model.visit(&mut count);
    count.sum
}

type Sizes = fn(Embedding) -> NetworkConfig;

#[test]
fn published_sizes_have_the_reference_s_counts() {
    let device = device();
    let published: [(Sizes, [[usize; 3]; 3]); 3] = [
        (
            NetworkConfig::mnist,
            [
                [20_013_010, 1_949_370, 1_949_176],
                [20_038_910, 1_952_230, 1_952_036],
                [35_659_950, 3_660_694, 3_660_500],
            ],
        ),
        (
            NetworkConfig::cifar10,
            [
                [24_933_970, 2_441_466, 2_441_272],
                [24_959_870, 2_444_326, 2_444_132],
                [45_547_630, 4_690_646, 4_690_452],
            ],
        ),
        (
            NetworkConfig::cifar100,
            [
                [25_290_460, 2_486_106, 2_485_912],
                [25_079_660, 2_459_626, 2_459_432],
                [46_216_780, 5_255_306, 5_255_112],
            ],
        ),
    ];
    for (network, counts) in published {
        for (embedding, wanted) in EMBEDDINGS.into_iter().zip(counts) {
            let network = network(embedding);
            let dt = DtConfig::new(network.clone()).init(&device).unwrap();
            let ct = CtConfig::new(network.clone()).init(&device).unwrap();
            let fm = FmConfig::new(network).init(&device).unwrap();
            let found = [
                num_params(&dt, embedding),
                num_params(&ct, embedding),
                num_params(&fm, embedding),
            ];
            assert_eq!(found, wanted, "{embedding:?}");
        }
    }
}
