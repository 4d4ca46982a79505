#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "pq/connection.h"

namespace weir::pq {

/// A throwaway PostgreSQL server in a directory of its own under the system's temporary directory,
/// on a Unix socket there and a free port of 127.0.0.1. As root it runs as user "postgres". Dies
/// with the object, and with the test process.
///
/// pg_hba.conf: the socket trusts everyone; TCP wants SCRAM, and rejects the role "outsider".
class TestServer {
 public:
  /// The programs' directory: $PGWEIR_TEST_PGBIN, else Debian's for PostgreSQL 15 or 17. nullopt if
  /// there are none; the tests skip then.
  static std::optional<std::filesystem::path> programs();

  /// initdb with 1 MB segments, and start.
  TestServer();
  /// A standby of `primary`, by a copy of its files; `primary` must be stopped. Not started.
  explicit TestServer(const TestServer& primary);
  TestServer& operator=(const TestServer&) = delete;
  ~TestServer();

  void start();
  /// Sends the postmaster a signal (SIGINT: fast shutdown) and waits until it is gone.
  void stop(int signal);
  void signal(int signal) const;

  [[nodiscard]] std::string conninfo() const;  ///< by the socket, as the superuser
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::filesystem::path data() const { return root_ / "data"; }

  /// One SQL command over a connection of its own; the first column of the first row.
  std::string sql(const std::string& command) const;

 private:
  void prepare_root();
  void write_settings(const std::string& more) const;

  std::filesystem::path root_;
  int port_;
  pid_t postmaster_ = -1;
};

/// A TCP port of 127.0.0.1 that nobody listens on. It is below those that the kernel gives to
/// outgoing connections, and no other test gets it as long as this process lives, so that it stays
/// free while a server is made or restarts.
int free_port();

/// Listens on a port of 127.0.0.1. Of each connection it reads something, sends the first answer,
/// reads something, sends the next, and hangs up after the last. Without answers connections are
/// taken by the kernel and nobody ever speaks.
class FakeServer {
 public:
  explicit FakeServer(const std::vector<std::string>& answers);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  [[nodiscard]] int port() const { return port_; }

 private:
  int listener_;
  int port_;
  pid_t child_ = -1;
};

}  // namespace weir::pq
