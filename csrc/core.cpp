// The Python module of the compiled part: it says how it was built. The ops register themselves from their rooms.
#include <pybind11/pybind11.h>

#include <string>

namespace {

// The vector extensions that the compiler was allowed to use, as -march=native resolved them.
std::string capability() {
  std::string names;
  const auto add = [&names](const char* name) { names += names.empty() ? name : std::string(" ") + name; };
#ifdef __AVX2__
  add("AVX2");
#endif
#ifdef __FMA__
  add("FMA");
#endif
#ifdef __F16C__
  add("F16C");
#endif
#ifdef __AVX512F__
  add("AVX512F");
#endif
#ifdef __AVX512BW__
  add("AVX512BW");
#endif
#ifdef __AVX512BF16__
  add("AVX512BF16");
#endif
#ifdef __ARM_NEON
  add("NEON");
#endif
#ifdef __ARM_FEATURE_SVE
  add("SVE");
#endif
  return names.empty() ? "baseline" : names;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() = "Compiled part of dssl_ops";
  module.def("capability", &capability, "Vector extensions that this binary may use");
  module.def("compiler", [] { return std::string(__VERSION__); }, "Compiler that built this binary");
}
