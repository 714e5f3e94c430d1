// The Python module of the compiled part: two constants that say how it was built, and what _library.py calls at the
// interpreter's end. Importing it loads the binary, and
// with it the ops, which register themselves from their rooms. Python's own C interface does for that: pybind11 would
// take 5 s of every build.
#include <Python.h>

#include "common/ending.h"

namespace {

// The vector extensions that the compiler was allowed to use, as -march=native resolved them.
constexpr char kCapability[] =
    "baseline"
#ifdef __AVX2__
    " AVX2"
#endif
#ifdef __FMA__
    " FMA"
#endif
#ifdef __AVX512F__
    " AVX512F"
#endif
#ifdef __AVX512BW__
    " AVX512BW"
#endif
#ifdef __AVX512BF16__
    " AVX512BF16"
#endif
#ifdef __ARM_NEON
    " NEON"
#endif
#ifdef __ARM_FEATURE_SVE
    " SVE"
#endif
    ;

PyObject* end(PyObject*, PyObject*) {
  dssl::begin_to_end();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"end", end, METH_NOARGS, "Threads that are in a kernel stay there."}, {}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", "Compiled part of dssl_ops", -1, methods};

}  // namespace

PyMODINIT_FUNC PyInit__core() {
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  if (PyModule_AddStringConstant(module, "capability", kCapability) < 0 ||
      PyModule_AddStringConstant(module, "compiler", __VERSION__) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
