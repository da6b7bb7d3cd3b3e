//! local-reg-nde: coefficients, whole solves, the local regulariser in both conventions, the latent
//! ODE, and steps of SOSRI; all in double precision.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use menagerie_core::{Error, Result, Seed};
use menagerie_hub::KeyMap;
use menagerie_nn::ode::{
    Adjoint as _, Estimate, Field, Function, Increment, Keep, Outputs, Probe, Request, Sosri, Step,
    Tolerance, Tsit5, discrete, tableau,
};
use menagerie_parity::{Case, Check, Fixture};
use menagerie_series::local_reg_nde::weights::{self, Weights};
use menagerie_series::local_reg_nde::{
    Adjoint, Kind, LatentOde, LatentOdeConfig, Learning, NodeConfig, NsdeConfig, Precision,
    RegularizerConfig, Series, SolverConfig, objective,
};
use serde::Deserialize;
use std::collections::BTreeMap;

const fn case(case: &'static str, run: fn(&Fixture, &Device, &mut Check) -> Result<()>) -> Case {
    Case {
        slug: "local-reg-nde",
        case,
        run,
    }
}

pub(crate) const CASES: &[Case] = &[
    case("tableaus", tableaus),
    case("ode_solve", ode_solve),
    case("node_classifier", node_classifier),
    case("latent_ode", latent_ode),
    case("sde_sosri", sde_sosri),
];

fn floats<const D: usize>(values: Vec<f64>, shape: [usize; D]) -> TensorData {
    TensorData::new(values, shape)
}

fn one(value: f64) -> TensorData {
    floats(vec![value], [1])
}

fn double<const D: usize>(fixture: &Fixture, name: &str, device: &Device) -> Result<Tensor<D>> {
    Ok(fixture.input::<D>(name, device)?.cast(DType::F64))
}

/// Compares `out/<name>` if the fixture has it.
fn hold(check: &mut Check, name: &str, data: TensorData) -> Result<()> {
    if check.expects(name) {
        check.output_data(name, data)?;
    }
    Ok(())
}

/// Gradients by module path.
struct Paths<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Paths<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.found.insert(self.path.join("."), gradient.into_data());
        }
    }
}

/// Compares every recorded gradient below `root`.
fn gradients<M: Module>(
    fixture: &Fixture,
    check: &mut Check,
    root: &str,
    module: &M,
    gradients: &GradientsParams,
    map: &KeyMap,
) -> Result<()> {
    let mut paths = Paths {
        gradients,
        path: Vec::new(),
        found: BTreeMap::new(),
    };
    module.visit(&mut paths);
    let ours = map.to_official(&paths.found)?;
    let names: Vec<String> = fixture
        .expected()
        .filter_map(|(name, _)| name.strip_prefix(root).map(str::to_owned))
        .collect();
    for name in names {
        let Some(data) = ours.get(&name) else {
            return Err(Error::unknown("gradient", name, ours.keys().cloned()));
        };
        check.gradient_data(&format!("{root}{name}"), data.clone())?;
    }
    Ok(())
}

fn tableaus(fixture: &Fixture, _: &Device, check: &mut Check) -> Result<()> {
    let square = tableau::WEIGHTS.concat();
    check.output_data("a", floats(square, [7, 7]))?;
    check.output_data("b", floats(tableau::WEIGHTS[6].to_vec(), [7]))?;
    check.output_data("btilde", floats(tableau::ERROR.to_vec(), [7]))?;
    check.output_data("c", floats(tableau::NODES.to_vec(), [7]))?;
    check.output_data("interp_r", floats(tableau::DENSE.concat(), [7, 4]))?;
    let names: Vec<String> = fixture
        .expected()
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in &names {
        if let Some(theta) = name.strip_prefix("out/b_interp_theta_") {
            let theta: f64 = theta.replace('p', ".").parse().unwrap_or(f64::NAN);
            let weights = tableau::dense(theta).to_vec();
            check.output_data(name.trim_start_matches("out/"), floats(weights, [7]))?;
        }
    }
    let mut sosri = |name: String, value: f64| hold(check, &format!("sosri_{name}"), one(value));
    use tableau::sosri::{A0, A1, ALPHA, B0, B1, BETA, C0, C1, STAGES};
    for stage in 0..STAGES {
        let i = stage + 1;
        for (letters, table) in [("a0", A0), ("a1", A1), ("b0", B0), ("b1", B1)] {
            for other in 0..stage {
                sosri(format!("{letters}{i}{}", other + 1), table[stage][other])?;
            }
        }
        sosri(format!("alpha{i}"), ALPHA[stage])?;
        sosri(format!("c0{i}"), C0[stage])?;
        sosri(format!("c1{i}"), C1[stage])?;
        for (row, weights) in BETA.iter().enumerate() {
            sosri(format!("beta{}{i}", row + 1), weights[stage])?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Equation {
    rhs: String,
    t_end: f64,
    abstol: f64,
    reltol: f64,
    saveat: Vec<f64>,
}

/// All numbers of a text, with their signs.
fn numbers(text: &str) -> Vec<f64> {
    let part = |c: char| c.is_ascii_digit() || c == '.';
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(part) {
        let negative = rest[..start].ends_with('-');
        let end = rest[start..]
            .find(|c| !part(c))
            .unwrap_or(rest.len() - start);
        if let Ok(value) = rest[start..start + end].parse::<f64>() {
            all.push(if negative { -value } else { value });
        }
        rest = &rest[start + end..];
    }
    all
}

type Rhs = Box<dyn Fn(Tensor<2>, f64) -> Tensor<2>>;

/// The three kinds of right-hand sides, with the numbers of the text.
fn right_hand_side(name: &str, text: &str, size: usize, device: &Device) -> Result<Rhs> {
    let numbers = numbers(text);
    let column = |u: &Tensor<2>, at: usize| u.clone().slice([0..1, at..at + 1]);
    let number = |at: usize| {
        let found = numbers.get(at).copied();
        found.ok_or_else(|| Error::input(format!("the right-hand side `{text}`"), at, "too short"))
    };
    match name {
        "lotka" => {
            let (grow, die) = (number(0)?, number(1)?);
            Ok(Box::new(move |u, _| {
                let (x, y) = (column(&u, 0), column(&u, 1));
                let met = x.clone() * y.clone();
                Tensor::cat(vec![x * grow - met.clone(), y * die + met], 1)
            }))
        }
        "vdp" => {
            let stiff = number(0)?;
            Ok(Box::new(move |u, _| {
                let (x, y) = (column(&u, 0), column(&u, 1));
                let damped = (x.clone().square() * -1.0 + 1.0) * y.clone() * stiff - x;
                Tensor::cat(vec![y, damped], 1)
            }))
        }
        "linear" => {
            let frequency = number(0)?;
            number(size + size * size)?;
            let force = floats(numbers[1..=size].to_vec(), [1, size]);
            let matrix = numbers[size + 1..=size + size * size].to_vec();
            let options = (device, DType::F64);
            let force = Tensor::<2>::from_data(force, options);
            let matrix = Tensor::<2>::from_data(floats(matrix, [size, size]), options);
            Ok(Box::new(move |u, t| {
                let turned = u.matmul(matrix.clone().transpose());
                turned + force.clone() * (frequency * t).sin()
            }))
        }
        other => Err(Error::unknown(
            "equation",
            other,
            ["lotka", "vdp", "linear"],
        )),
    }
}

fn rows(states: &[Tensor<2>]) -> TensorData {
    Tensor::cat(states.to_vec(), 0).into_data()
}

fn flat(state: &Tensor<2>) -> TensorData {
    let [_, size] = state.dims();
    state.clone().reshape([size]).into_data()
}

fn ode_solve(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let equations: BTreeMap<String, Equation> = fixture.config()?;
    for (name, equation) in &equations {
        let u = double::<1>(fixture, &format!("{name}_u0"), device)?;
        let size = u.dims()[0];
        let u = u.reshape([1, size]);
        let field = Function(right_hand_side(name, &equation.rhs, size, device)?);
        let solver = Tsit5::new(Tolerance::new(equation.abstol, equation.reltol));
        let span = [0.0, equation.t_end];
        let request = Request {
            save_at: &equation.saveat,
            stiffness: true,
            ..Request::default()
        };
        let solution = solver.solve(&field, u.clone(), span, request)?;
        let mut out =
            |what: &str, data: TensorData| check.output_data(&format!("{name}_{what}"), data);
        out("dt_init", one(solution.first_step))?;
        let attempts = &solution.attempts;
        let count = [attempts.len()];
        let column = |of: &dyn Fn(&menagerie_nn::ode::Attempt) -> f64| {
            floats(attempts.iter().map(of).collect(), count)
        };
        out("t", column(&|attempt| attempt.t))?;
        out("dt", column(&|attempt| attempt.dt))?;
        out("eest", column(&|attempt| attempt.error))?;
        out(
            "stiffness",
            column(&|attempt| attempt.stiffness.unwrap_or(f64::NAN)),
        )?;
        let accepted = attempts.iter().map(|attempt| i64::from(attempt.accepted));
        out(
            "accepted",
            TensorData::new(accepted.collect::<Vec<_>>(), count),
        )?;
        let evaluations = vec![solution.evaluations() as i64];
        out("nfe", TensorData::new(evaluations, [1]))?;
        out("u_end", flat(&solution.end))?;
        out("saved", rows(&solution.saved))?;
        out("global_error_reg", one(solution.error_sum()))?;
        let exact = Tsit5::with_both(1e-12).solve(&field, u.clone(), span, request)?;
        out("u_end_exact", flat(&exact.end))?;
        out("saved_exact", rows(&exact.saved))?;
        let slope = field.slope(&u, &[], 0.0);
        let step = Step::take(&field, &u, slope, 0.0, 0.1);
        out("step0p1_stages", rows(&step.slopes))?;
        out("step0p1_u", flat(&step.to))?;
        out("step0p1_utilde", flat(&field.sum(&step.error_terms())))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Node {
    din: usize,
    hidden: usize,
    classes: usize,
    tspan: [f64; 2],
    abstol: f64,
    reltol: f64,
    w_reg: f64,
    n_hidden: usize,
}

fn first(fixture: &Fixture, name: &str) -> Result<f64> {
    let data = fixture.input_data(name)?;
    Ok(data.iter::<f64>().next().unwrap_or(f64::NAN))
}

fn node_classifier(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Node = fixture.config()?;
    let config = NodeConfig::new(sizes.din, sizes.hidden, SolverConfig::new(sizes.abstol))
        .with_classes(sizes.classes)
        .with_layers(sizes.n_hidden);
    let tracked = &device.clone().autodiff();
    let model = weights::from_state_dict(&config, &fixture.weights(), tracked)?;
    let map = config.key_map();
    let field = model.dynamics.field();
    let x = double::<2>(fixture, "x", device)?;
    let labels: Tensor<1, Int> = fixture.input_int("labels", device)?;
    let solver = Tsit5::new(Tolerance::new(sizes.abstol, sizes.reltol));

    // What a solve at the tolerance costs.
    let loose = solver.solve(&field, x.clone(), sizes.tspan, Request::default())?;
    let count = |count: usize| TensorData::new(vec![count as i64], [1]);
    check.output_data("nfe_at_tol", count(loose.evaluations()))?;
    check.output_data("n_accept_at_tol", count(loose.accepted().count()))?;
    check.output_data("global_error_reg", one(loose.error_sum()))?;

    // The loss, all but exact.
    let exact = Tsit5::with_both(1e-10);
    let request = Request {
        keep: Keep::States,
        ..Request::default()
    };
    let solution = exact.solve(&field, x, sizes.tspan, request)?;
    let end = solution.end.state().clone();
    check.output("u_end", end.clone())?;
    let leaf = end.autodiff().require_grad();
    let logits = model.classify(leaf.clone());
    check.output("logits", logits.clone())?;
    let entropy = objective::cross_entropy(logits, labels);
    let ce = entropy.clone().inner().into_scalar::<f64>();
    check.output_data("ce", one(ce))?;
    let mut found = entropy.backward();
    let by_end = leaf
        .grad_remove(&mut found)
        .unwrap_or_else(|| leaf.zeros_like());
    let head = GradientsParams::from_grads(found, &model);
    let mut sum = field.zero();
    discrete(&field, &solution, Outputs::end(by_end), None, &mut sum)?;

    // The local step.
    let from = field.place(double::<2>(fixture, "u_t1", device)?);
    let (t1, dt) = (first(fixture, "t1")?, first(fixture, "dt_local")?);
    let slope = field.slope(&from, &[], t1);
    let k1 = field.sum(&[(1.0, &slope)]);
    let given = double::<2>(fixture, "k1", device)?;
    let off = (k1 - given).abs().max().into_scalar::<f64>();
    if off > 1e-5 {
        return Err(Error::input(
            "the first slope",
            off,
            "must be the recorded one",
        ));
    }
    let automatic = solver.first_step(&field, &from, &slope, [t1, sizes.tspan[1]])?;
    check.output_data("dt_init_at_t1", one(automatic))?;
    let step = Step::take(&field, &from, slope, t1, dt);
    check.output("step_u", step.to.state().clone())?;
    check.output("step_utilde", field.sum(&step.error_terms()))?;
    check.output_data("eest", one(step.error(&field, &from, solver.tolerance)))?;
    let probe = Probe { from, step };
    let value =
        |estimate: Estimate| estimate.of(&field, &probe.from, &probe.step, solver.tolerance);
    let error = value(Kind::Error.local());
    check.output_data("reg_error", one(error))?;
    check.output_data("reg_stiffness", one(value(Kind::Stiffness.local())))?;
    check.output_data("total", one(ce + sizes.w_reg * error))?;

    for (estimate, name) in [
        (Kind::Error.local(), "grad_reg_error"),
        (Kind::Stiffness.local(), "grad_reg_stiffness"),
    ] {
        for (whole, suffix) in [(false, ""), (true, "_k1diff")] {
            let mut sum = field.zero();
            probe.pull_back(estimate, &field, solver.tolerance, 1.0, whole, &mut sum);
            let root = format!("{name}{suffix}/");
            gradients(fixture, check, &root, &model, &field.gradients(sum), &map)?;
        }
    }
    let (tolerance, weight) = (solver.tolerance, sizes.w_reg);
    probe.pull_back(Estimate::Error, &field, tolerance, weight, false, &mut sum);
    let mut all = field.gradients(sum);
    let classifier = &model.classifier;
    if let Some(gradient) = head.get::<2>(classifier.weight.id) {
        all.register(classifier.weight.id, gradient);
    }
    if let Some(gradient) = head.get::<1>(classifier.bias.id) {
        all.register(classifier.bias.id, gradient);
    }
    gradients(fixture, check, "grad/", &model, &all, &map)
}

#[derive(Deserialize)]
struct Latent {
    in_dims: usize,
    hidden: usize,
    latent: usize,
    node: usize,
    w_kl: f64,
    sigma: f64,
}

fn latent_ode(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Latent = fixture.config()?;
    let weights = fixture.weights();
    let layers = weights
        .keys()
        .filter(|key| key.starts_with("neural_ode.model.") && key.ends_with(".weight"))
        .count();
    let solver = SolverConfig::new(1e-10);
    let (variables, node) = (sizes.in_dims, sizes.node);
    let config = LatentOdeConfig::new(variables, sizes.latent, sizes.hidden, node, solver)
        .with_layers(layers)
        .with_sigma(sizes.sigma)
        .with_precision(Precision::Double);
    let model = weights::from_state_dict(&config, &weights, &device.clone().autodiff())?;
    let series = Series {
        data: double(fixture, "data", device)?,
        mask: double(fixture, "mask", device)?,
        gaps: double(fixture, "dt", device)?,
        times: fixture.input_data("saveat")?.iter::<f64>().collect(),
    };
    let draws = double::<2>(fixture, "eps", device)?;
    let encoding = model.encode(&series)?;
    let states = encoding.states.iter().map(|state| state.clone().inner());
    check.output("gru_states", Tensor::stack::<3>(states.collect(), 1))?;
    check.output("mu", encoding.mu.clone())?;
    check.output("logvar", encoding.logvar.clone())?;
    let first = LatentOde::sample(&encoding, draws.clone().autodiff());
    check.output("z0", first.clone())?;
    let predicted = model.predict(first, &series.times)?;
    check.output("z", predicted.latents)?;
    check.output("pred", predicted.predicted.clone())?;
    let (data, mask) = (series.data.clone(), series.mask.clone());
    let error = objective::masked_error(predicted.predicted.clone().inner(), data, mask);
    check.output("eval_mse", error)?;
    let elbo = model.elbo(&series, &encoding, predicted.predicted, sizes.w_kl);
    check.output("loglik", elbo.likelihood)?;
    check.output("kl", elbo.divergence)?;
    check.output("loss", elbo.loss)?;
    for adjoint in [Adjoint::Discrete, Adjoint::Continuous] {
        let learning = Learning {
            regularizer: RegularizerConfig::vanilla(),
            weight: 0.0,
            adjoint,
            time: 0.0,
            step: 0,
            seed: Seed(0),
        };
        let learned = model.learn_with(&series, draws.clone(), sizes.w_kl, &learning)?;
        let map = config.key_map();
        gradients(fixture, check, "grad/", &model, &learned.gradients, &map)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Sde {
    state: usize,
    hidden: usize,
    dt: f64,
    steps: usize,
    abstol: f64,
    reltol: f64,
    delta: f64,
}

fn sde_sosri(fixture: &Fixture, device: &Device, check: &mut Check) -> Result<()> {
    let sizes: Sde = fixture.config()?;
    let config = NsdeConfig::new(
        1,
        sizes.state,
        sizes.hidden,
        SolverConfig::new(sizes.abstol),
    )
    .with_precision(Precision::Double);
    let model = config.init(&device.clone().autodiff())?;
    let map = weights::dynamics_map();
    let dynamics = menagerie_hub::load(model.dynamics, &fixture.weights(), &map)?;
    let plain = dynamics.valid();
    let solver =
        Sosri::new(Tolerance::new(sizes.abstol, sizes.reltol)).with_drift_share(sizes.delta);
    let u0 = double::<2>(fixture, "u0", device)?;
    let (dw, dz) = (
        double::<3>(fixture, "dW", device)?,
        double::<3>(fixture, "dZ", device)?,
    );
    let [_, batch, size] = dw.dims();
    let increment = |at: usize| {
        let of = |x: &Tensor<3>| {
            let part = x.clone().slice([at..at + 1, 0..batch, 0..size]);
            part.reshape([batch, size])
        };
        Increment {
            dt: sizes.dt,
            dw: of(&dw),
            dz: of(&dz),
        }
    };
    let (mut u, mut states, mut errors) = (u0.clone(), Vec::new(), Vec::new());
    for at in 0..sizes.steps {
        let t = at as f64 * sizes.dt;
        let step = solver.step(
            |u, _| plain.drift(u),
            |u, _| plain.diffusion(u),
            &u,
            t,
            &increment(at),
        );
        if at == 0 {
            check.output("E1_step0", step.drift_error())?;
            check.output("E2_step0", step.noise_error.clone())?;
        }
        errors.push(step.error(&solver, &u).into_scalar::<f64>());
        u = step.to;
        states.push(u.clone());
    }
    check.output("u", Tensor::stack::<3>(states, 0))?;
    let count = errors.len();
    check.output_data("eest", floats(errors, [count]))?;
    let u0 = u0.autodiff();
    let step = solver.step(
        |u, _| dynamics.drift(u),
        |u, _| dynamics.diffusion(u),
        &u0,
        0.0,
        &increment(0),
    );
    let value = step.error(&solver, &u0) * sizes.dt;
    check.output("reg_step0", value.clone())?;
    let found = GradientsParams::from_grads(value.backward(), &dynamics);
    gradients(fixture, check, "grad/", &dynamics, &found, &map)
}
