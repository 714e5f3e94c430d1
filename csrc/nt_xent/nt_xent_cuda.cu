// The similarity matrix is made tile by tile in registers and shared memory and never stored. Forward: pack, sums of
// the negatives, finish, reduce. Backward: pack, slopes of the rows, sums of gradients, finish; each side's rows own
// their gradient. How the work is shared out depends on sizes alone, and so do the bits.
#include "nt_xent_cuda.h"

#include <algorithm>
#include <numeric>

#include "backward.cuh"

namespace dssl::nt_xent {
namespace {

constexpr int64_t kBlocks = 264;  // wanted: two for each of an H100's processors

int64_t total(const Source& of, int64_t first_parts) {
  return std::accumulate(of.counts, of.counts + first_parts, int64_t{0});
}
int64_t total(const Source& of) { return total(of, of.parts); }

unsigned blocks_for(int64_t threads, int64_t block) { return static_cast<unsigned>((threads + block - 1) / block); }

// How many blocks share the tiles of each block of own rows, so that about kBlocks run.
struct Shares {
  int tiles, each, count;

  template <class T>
  static Shares of(int64_t own, int64_t other, int64_t slabs) {
    const int64_t tiles = std::max<int64_t>(1, (other + Shape<T>::kOther - 1) / Shape<T>::kOther);
    const int64_t blocks = std::max<int64_t>(1, (own + Shape<T>::kOwn - 1) / Shape<T>::kOwn * slabs);
    const int64_t wanted = std::clamp<int64_t>(kBlocks / blocks, 1, tiles), each = (tiles + wanted - 1) / wanted;
    return {static_cast<int>(tiles), static_cast<int>(each), static_cast<int>((tiles + each - 1) / each)};
  }
};

// At least one chunk, of zeros where rows have no entries.
template <class T>
int64_t padded_width(int64_t width) {
  return padded(std::max<int64_t>(1, width), Shape<T>::kChunk);
}

template <class T>
int64_t slabs_of(int64_t width) {
  return (padded_width<T>(width) / Shape<T>::kChunk + Slab<T>::kPieces - 1) / Slab<T>::kPieces;
}

// The scratch of both launches, laid out from `base` on; with a null base it tells how much there is.
template <class T>
struct Workspace {
  using A = typename Shape<T>::A;
  Operand<T> x, y;
  Pairing pairing;
  A *maxima, *totals, *partial;
  Slopes<A> slopes;
  double* along;
  int64_t bytes = 0;

  Workspace(char* base, int64_t rows, int64_t columns, int64_t owned, int64_t width) : base_(base) {
    x = operand(rows, width);
    y = columns >= 0 ? operand(columns, width) : x;
    take(pairing.positive, x.rows), take(pairing.excluded, x.rows);
    take(slopes.weight, x.rows), take(slopes.denominator, x.rows), take(slopes.positive, x.rows);
    take(slopes.peak, 1), take(along, rows);
    const int64_t slabs = slabs_of<T>(width);
    const Shares forward = Shares::of<T>(rows, y.count, 1);
    take(maxima, forward.count * x.rows), take(totals, forward.count * x.rows);
    const int64_t of_rows = Shares::of<T>(rows, y.count, slabs).count * x.rows;
    const int64_t of_columns = owned ? Shares::of<T>(owned, rows, slabs).count * padded(owned, kPadding) : 0;
    take(partial, std::max(of_rows, of_columns) * x.width);
  }

 private:
  char* base_;

  template <class V>
  void take(V*& pointer, int64_t count) {
    pointer = reinterpret_cast<V*>(base_ + bytes);
    bytes += padded(count * static_cast<int64_t>(sizeof(V)), 256);
  }

  Operand<T> operand(int64_t count, int64_t width) {
    Operand<T> of = {};
    of.count = count, of.rows = padded(std::max<int64_t>(1, count), kPadding), of.width = padded_width<T>(width);
    take(of.entries, of.rows * of.width);
    take(of.inverse, of.rows), take(of.exact_inverse, of.rows), take(of.length_inverse, of.rows);
    return of;
  }
};

template <class T>
struct Run {
  using A = typename Shape<T>::A;
  const Inputs& of;
  const cudaStream_t stream;
  const Workspace<T> space;

  Run(const Inputs& inputs, int64_t owned, cudaStream_t stream_)
      : of(inputs),
        stream(stream_),
        space(static_cast<char*>(of.workspace), total(of.rows), symmetric() ? -1 : total(of.columns), owned, of.width) {
    pack(of.rows, space.x);
    if (!symmetric()) pack(of.columns, space.y);
    launch(pair_rows, blocks_for(space.x.rows, kPackThreads), kPackThreads, 0, stream, of.positive, of.excluded,
           space.x.count, space.x.rows, space.y.count, space.pairing, space.slopes.peak);
  }

  void pack(const Source& from, const Operand<T>& to) const {
    int64_t first = 0;
    for (int64_t k = 0; k < from.parts; ++k) {
      const int64_t with_padding = k + 1 < from.parts ? from.counts[k] : to.rows - first;
      if (with_padding > 0)
        launch(pack_rows<T>, blocks_for(with_padding * 32, kPackThreads), kPackThreads, 0, stream,
               static_cast<const T*>(from.data[k]), from.strides[k], from.counts[k], with_padding, of.width, first, to,
               of.tf32);
      first += from.counts[k];
    }
  }

  bool symmetric() const { return of.columns.parts == 0; }
  bool fits_two_chunks() const { return space.x.width <= 2 * Shape<T>::kChunk; }

  Sides<T> sides(const Operand<T>& own, const Operand<T>& other, const Shares& shares, bool keeps_own) const {
    return {own, other, space.pairing, of.positives_only, of.temperature, shares.tiles, shares.each, keeps_own};
  }

  template <class Exact, class... Arguments>
  void start(Exact* exact, Exact* on_tensor_cores, dim3 grid, int64_t bytes, const Arguments&... arguments) const {
    const bool exactly = sizeof(T) == 8 || (sizeof(T) == 4 && !of.tf32);
    launch(exactly ? exact : on_tensor_cores, grid, Shape<T>::kThreads, static_cast<size_t>(bytes), stream,
           arguments...);
  }

  // On tensor cores unless T has no place there.
  static constexpr bool kTensor = sizeof(T) != 8;
  static constexpr bool kExact = sizeof(T) == 2;  // half types: always on tensor cores, whose products are exact

  void forward(RowOutputs out, void* loss, bool per_row, double factor) const {
    const int64_t rows = space.x.count;
    if (rows > 0) {
      const Shares shares = Shares::of<T>(rows, space.y.count, 1);
      const Sides<T> both = sides(space.x, space.y, shares, fits_two_chunks());
      start(sum_negatives<T, kExact>, sum_negatives<T, kTensor>,
            dim3(blocks_for(rows, Shape<T>::kOwn), static_cast<unsigned>(shares.count)), Stage<T>::kBytes, both,
            space.maxima, space.totals);
      out.wide_losses = per_row ? loss : nullptr;
      launch(finish_rows<T>, blocks_for(rows * 32, kPackThreads), kPackThreads, 0, stream, both, space.maxima,
             space.totals, shares.count, of.decoupled, out);
    }
    if (per_row) return;
    using Loss = std::conditional_t<sizeof(T) == 8, double, float>;
    launch(reduce_sum<Loss>, 1, kReduceThreads, 0, stream, out.losses, rows, factor, static_cast<Loss*>(loss));
  }

  // The gradients of the first `owned` rows of a side, into `parts` tensors of as many rows as `source` has.
  void differentiate(Operand<T> own, const Operand<T>& other, int64_t owned, bool own_rows, const Source& source,
                     void* const* out, int64_t parts) const {
    const int64_t slabs = slabs_of<T>(of.width);
    own.rows = padded(owned, kPadding);
    const Shares shares = Shares::of<T>(owned, other.count, slabs);
    Slopes<A> slopes = space.slopes;
    slopes.own_rows = own_rows, slopes.other_rows = !own_rows || symmetric();
    const bool keeps_own = fits_two_chunks() && Stage<T>::kBytes + Slab<T>::kSlopeBytes <= most_shared_bytes();
    start(sum_gradients<T, kExact>, sum_gradients<T, kTensor>,
          dim3(blocks_for(owned, Shape<T>::kOwn), static_cast<unsigned>(shares.count), static_cast<unsigned>(slabs)),
          Stage<T>::kBytes + (keeps_own ? Slab<T>::kSlopeBytes : 0), sides(own, other, shares, keeps_own), slopes,
          of.tf32, space.partial);
    int64_t first = 0;
    for (int64_t k = 0; k < parts; first += source.counts[k++])
      if (source.counts[k] > 0)
        launch(finish_gradients<T>, blocks_for(source.counts[k] * 32, kPackThreads), kPackThreads, 0, stream, own,
               space.partial, shares.count, slopes.peak, of.temperature, first, source.counts[k], of.width,
               static_cast<T*>(out[k]), own_rows ? space.along : nullptr);
  }

  void backward(const double* positives, const double* negatives, const double* upstream, bool per_row, double factor,
                void* const* of_rows, void* const* of_columns, int64_t owned_parts, double* of_temperature) const {
    const int64_t rows = space.x.count, owned = total(of.columns, owned_parts);
    launch(weigh_rows<A>, blocks_for(space.x.rows, kPackThreads), kPackThreads, 0, stream, positives, negatives,
           upstream, per_row, factor, of.decoupled, rows, space.x.rows, of.temperature, space.slopes);
    if (rows > 0) differentiate(space.x, space.y, rows, true, of.rows, of_rows, of.rows.parts);
    if (owned > 0) differentiate(space.y, space.x, owned, false, of.columns, of_columns, owned_parts);
    launch(differentiate_temperature, 1, kReduceThreads, 0, stream, space.along, rows, symmetric() ? 0.5 : 1.0,
           of.temperature, of_temperature);
  }
};

}  // namespace

extern "C" void nt_xent_workspace(int64_t rows, int64_t columns, int64_t owned, int64_t width, int dtype,
                                  int64_t* bytes) {
  with_type(dtype, [&](auto t) { *bytes = Workspace<decltype(t)>(nullptr, rows, columns, owned, width).bytes; });
}

extern "C" void nt_xent_launch(const Inputs& of, double* positives, double* negatives, double* nearest,
                               double* row_losses, void* loss, bool per_row, double factor, cudaStream_t stream) {
  with_type(of.dtype, [&](auto t) {
    Run<decltype(t)>(of, 0, stream)
        .forward({positives, negatives, nearest, row_losses, nullptr}, loss, per_row, factor);
  });
}

extern "C" void nt_xent_backward_launch(const Inputs& of, const double* positives, const double* negatives,
                                        const double* upstream, bool per_row, double factor, void* const* of_rows,
                                        void* const* of_columns, int64_t owned_parts, double* of_temperature,
                                        cudaStream_t stream) {
  with_type(of.dtype, [&](auto t) {
    const Run<decltype(t)> run(of, total(of.columns, owned_parts), stream);
    run.backward(positives, negatives, upstream, per_row, factor, of_rows, of_columns, owned_parts, of_temperature);
  });
}

}  // namespace dssl::nt_xent
