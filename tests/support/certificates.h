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
  /// `subject`: "/CN=repl". That authority's certificate, of so many days.
  void sign(const std::string& name, const std::string& subject, const std::string& authority,
            int days = 2) {
    request(name, subject);
    openssl("x509 -req -in " + name + ".csr -CA " + authority + ".crt -CAkey " + authority +
            ".key -CAcreateserial -days " + std::to_string(days) + " -out " + name + ".crt");
  }
  /// The same, valid in January 2020. ("openssl x509" refuses dates that are past, since 3.5.)
  void sign_expired(const std::string& name, const std::string& subject,
                    const std::string& authority) {
    request(name, subject);
    std::ofstream(place_ / "index").close();
    std::ofstream(place_ / "past.cnf") << "[ca]\ndefault_ca = here\n[here]\ndatabase = index\n"
                                          "new_certs_dir = .\ndefault_md = sha256\n"
                                          "policy = names\nrand_serial = yes\n"
                                          "[names]\ncommonName = supplied\n";
    openssl("ca -batch -config past.cnf -cert " + authority + ".crt -keyfile " + authority +
            ".key -in " + name + ".csr -out " + name +
            ".crt -startdate 20200101000000Z -enddate 20200201000000Z -notext");
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
  void request(const std::string& name, const std::string& subject) const {
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '" + subject +
            "' -keyout " + name + ".key -out " + name + ".csr");
  }

  std::filesystem::path place_;
};

}  // namespace weir::test
