/// Opt-in: the names of the main types, for headers that only mention them.
#pragma once

#include "sequin/core/shape.hpp"
#include "sequin/stream/streamable.hpp"

#include <cstddef>

// Brings neither Eigen, xsimd nor JSON. A header that holds a model by std::unique_ptr, or takes a
// tensor by reference, includes this; the source file includes the definitions. Shape, index_t,
// Scalar and the errors are complete.
namespace sequin::inline SEQUIN_ABI {

// core
template <class T, std::size_t Rank>
class Tensor;
template <class T, std::size_t Rank>
class View;
template <class T>
struct Parameter;
template <class T>
struct ParameterList;
template <class T>
class Visitor;
class Arena;
class ArenaScope;
class Executor;
class ExecutorScope;
class Generator;
class NoGrad;
class ThreadPool;

// autograd
class Gradients;
class Recorder;
class Tape;

// io
class Config;
class SafetensorsFile;
class Tokenizer;
class WeightsSource;
struct CsvTable;

// stream
template <Streamable Model>
class Session;

// blocks
template <Scalar T>
class AttentionLayer;
template <Scalar T>
class BatchNorm1d;
template <Scalar T>
class CausalSelfAttention;
template <Scalar T>
class Conv1d;
template <Scalar T>
class Embedding;
template <Scalar T>
class Encoder;
template <Scalar T>
class Gru;
template <Scalar T>
class KeyValueCache;
template <Scalar T>
class LayerNorm;
template <Scalar T>
class Linear;
template <Scalar T>
class Lstm;
template <Scalar T>
class MambaMixer;
template <Scalar T>
class RMSNorm;
template <Scalar T>
class SparseMoe;
template <Scalar T>
struct ForwardContext;
template <Scalar T>
struct GruState;
template <Scalar T>
struct LstmState;
template <Scalar T>
struct MambaMixerState;

// models
template <Scalar T>
class CausalMossFormer2;
template <Scalar T>
struct CausalMossFormer2State;
template <Scalar T>
class Informer;
template <Scalar T>
class ITransformer;
template <Scalar T>
class Mamba;
template <Scalar T>
struct MambaState;
template <Scalar T>
class MossFormer2;
template <Scalar T>
class Sampler;
template <Scalar T>
class TimeMoe;
template <Scalar T>
class TimeMoeState;
struct CausalMossFormer2Config;
struct InformerConfig;
struct ITransformerConfig;
struct MambaConfig;
struct MossFormer2Config;
struct TimeMoeConfig;

// train
template <Scalar T>
class Adam;
template <Scalar T>
class AdamW;
template <Scalar T>
class ForecastData;
template <Scalar T>
class Optimizer;
template <Scalar T>
class Sgd;
template <Scalar T>
class WeightAverage;
template <Scalar T>
struct WindowBatch;
class Schedule;
struct Series;
struct StandardScaler;
struct TrainOptions;
struct TrainResult;

}  // namespace sequin::inline SEQUIN_ABI
