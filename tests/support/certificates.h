#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "crypto/tls.h"

namespace weir::test {

/// Certificates and keys, made by openssl in a directory of their own.
class Certificates {
 public:
  Certificates() {
    std::string name = std::filesystem::temp_directory_path() / "pgweir-tls-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    place_ = name;
  }
  ~Certificates() { std::filesystem::remove_all(place_); }
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  static bool can() { return std::system("openssl version >/dev/null 2>&1") == 0; }

  /// One that has signed itself: an authority, or a server that stands for itself.
  void make(const std::string& name, const std::string& algorithm = "ec",
            const std::string& more = "-pkeyopt ec_paramgen_curve:P-256") {
    openssl("req -x509 -newkey " + algorithm + " " + more + " -nodes -days 2 -subj /CN=" + name +
            " -keyout " + name + ".key -out " + name + ".crt");
  }
  /// `subject`: "/CN=repl". A certificate of so many days, that authority's.
  void sign(const std::string& name, const std::string& subject, const std::string& authority,
            int days = 2) {
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '" + subject +
            "' -keyout " + name + ".key -out " + name + ".csr");
    openssl("x509 -req -in " + name + ".csr -CA " + authority + ".crt -CAkey " + authority +
            ".key -CAcreateserial -days " + std::to_string(days) + " -out " + name + ".crt");
  }
  void openssl(const std::string& arguments) const {
    const auto command = "cd " + place_.string() + " && openssl " + arguments + " 2>>log";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
  }
  [[nodiscard]] crypto::PemFile file(const std::string& name) const {
    std::ostringstream content;
    content << std::ifstream(place_ / name).rdbuf();
    return {(place_ / name).string(), content.str()};
  }
  [[nodiscard]] crypto::TlsServer::Files server(const std::string& name,
                                                const std::string& authority = {}) const {
    crypto::TlsServer::Files files{file(name + ".crt"), file(name + ".key"), std::nullopt};
    if (!authority.empty()) files.authorities = file(authority + ".crt");
    return files;
  }

 private:
  std::filesystem::path place_;
};

}  // namespace weir::test
