// libcrypto and libssl are loaded on first use (`crypto/library.h`), as libpq is: a separate module
// would only add a file, and `restore` loads nothing new
// (`test_serve_tls.py::test_openssl_is_loaded_by_who_needs_it`). The primitives are OpenSSL's;
// SCRAM's messages are pgweir's (`relay/scram.cc`). A user who is not in the file gets a salt
// derived from the file's own secrets, so it is the same after a restart, too.

#include "crypto/library.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace weir::crypto {

namespace {

class Library {
 public:
  explicit Library(const char* name)
      : name_(name), handle_(::dlopen(name, RTLD_NOW | RTLD_LOCAL)), failure_(reason()) {}

  void* find(const char* function) const {
    void* const found = handle_ != nullptr ? ::dlsym(handle_, function) : nullptr;
    if (found == nullptr)
      throw Error(ErrorKind::usage, std::string("could not load ") + name_ + ": " +
                                        (handle_ != nullptr ? reason() : failure_))
          .hint("Install OpenSSL 3 (on Debian: apt-get install libssl3).");
    return found;
  }

 private:
  static std::string reason() {
    const char* const text = ::dlerror();
    return text != nullptr ? text : "no reason given";
  }

  const char* name_;
  void* handle_;
  std::string failure_;  ///< why it could not be loaded, if it could not
};

}  // namespace

void* find_in_libcrypto(const char* function) {
  static const Library library("libcrypto.so.3");
  return library.find(function);
}

void* find_in_libssl(const char* function) {
  static const Library library("libssl.so.3");
  return library.find(function);
}

}  // namespace weir::crypto
