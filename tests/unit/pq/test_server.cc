#include "unit/pq/test_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "net/wake.h"

namespace weir::pq {
namespace {

namespace fs = std::filesystem;

const passwd* server_user() { return geteuid() == 0 ? getpwnam("postgres") : nullptr; }

// Starts a program as the server's user, its output into `log`.
pid_t spawn(const std::vector<std::string>& command, const fs::path& log) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const passwd* user = server_user();
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child > 0) return child;
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  dup2(open("/dev/null", O_RDONLY), 0);
  dup2(out, 1);
  dup2(out, 2);
  if (user != nullptr && (setgid(user->pw_gid) != 0 || initgroups("postgres", user->pw_gid) != 0 ||
                          setuid(user->pw_uid) != 0))
    _exit(126);
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != parent) _exit(126);
  if (chdir("/") != 0) _exit(126);
  execv(arguments[0], arguments.data());
  _exit(127);
}

std::string contents(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void run(const std::vector<std::string>& command, const fs::path& log) {
  int status = 0;
  if (waitpid(spawn(command, log), &status, 0) < 0 || status != 0)
    throw std::runtime_error(command[0] + " failed: " + contents(log));
}

int bind_loopback(int socket) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(socket, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error("could not bind to a port");
  return ntohs(address.sin_port);
}

/// As a server does it.
bool can_bind(int port) {
  const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const bool done = bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(probe);
  return done;
}

}  // namespace

std::optional<fs::path> TestServer::programs() {
  if (geteuid() == 0 && server_user() == nullptr) return std::nullopt;
  // Debian 12's, 13's
  std::vector<fs::path> places = {"/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin"};
  if (const char* chosen = std::getenv("PGWEIR_TEST_PGBIN")) places = {chosen};
  for (const fs::path& place : places)
    if (fs::exists(place / "initdb") && fs::exists(place / "postgres")) return place;
  return std::nullopt;
}

TestServer::TestServer() : port_(free_port()) {
  prepare_root();
  run({*programs() / "initdb", "-D", data(), "-U", "postgres", "-A", "trust", "-N", "--locale=C",
       "-E", "UTF8", "--wal-segsize=1"},
      root_ / "log");
  std::ofstream(data() / "pg_hba.conf") << "local all all trust\n"
                                           "local replication all trust\n"
                                           "host replication outsider 127.0.0.1/32 reject\n"
                                           "host all all 127.0.0.1/32 scram-sha-256\n"
                                           "host replication all 127.0.0.1/32 scram-sha-256\n";
  write_settings("");
  start();
}

TestServer::TestServer(const TestServer& primary) : port_(free_port()) {
  prepare_root();
  run({"/bin/cp", "-a", primary.data(), root_}, root_ / "log");
  std::ofstream(data() / "standby.signal").flush();
  write_settings(fmt::format("primary_conninfo = '{}'\n", primary.conninfo()));
}

TestServer::~TestServer() {
  if (postmaster_ > 0) stop(SIGQUIT);
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

void TestServer::prepare_root() {
  std::string pattern = fs::temp_directory_path() / "pgweir-test-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  root_ = pattern;
  if (const passwd* user = server_user();
      user != nullptr && chown(root_.c_str(), user->pw_uid, user->pw_gid) != 0)
    throw std::runtime_error("chown failed");
}

void TestServer::write_settings(const std::string& more) const {
  std::ofstream(data() / "postgresql.conf")
      << "listen_addresses = '127.0.0.1'\n"
      << "port = " << port_ << "\n"
      << "unix_socket_directories = '" << root_.string() << "'\n"
      << "wal_level = replica\nmax_wal_senders = 20\nmax_replication_slots = 5\nhot_standby = on\n"
      << "fsync = off\nshared_buffers = 1MB\nautovacuum = off\n"
      << "min_wal_size = 2MB\nmax_wal_size = 2MB\nwal_keep_size = 0\n"
      << "wal_sender_timeout = 2min\npassword_encryption = 'scram-sha-256'\n"
      << more;
}

void TestServer::start() {
  postmaster_ = spawn({*programs() / "postgres", "-D", data()}, root_ / "log");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  for (;;) {
    try {
      sql("SELECT 1");
      return;
    } catch (const Error& error) {
      int status = 0;
      const bool dead = waitpid(postmaster_, &status, WNOHANG) == postmaster_;
      if (dead) postmaster_ = -1;
      if (dead || std::chrono::steady_clock::now() > deadline)
        throw std::runtime_error(std::string("the test server does not start: ") + error.what() +
                                 "\n" + contents(root_ / "log"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void TestServer::signal(int signal) const { kill(postmaster_, signal); }

void TestServer::stop(int signal) {
  kill(postmaster_, signal);
  waitpid(postmaster_, nullptr, 0);
  postmaster_ = -1;
}

std::string TestServer::conninfo() const {
  return fmt::format("host={} port={} user=postgres dbname=postgres", root_.string(), port_);
}

std::string TestServer::sql(const std::string& command) const {
  const net::Wake never;
  ConnectOptions options;
  options.conninfo = conninfo();
  options.replication = Replication::none;
  const Rows rows = Connection::open(options, never).execute(command);
  return rows.empty() ? "" : rows[0].at(0).value_or("");
}

int free_port() {
  static std::random_device chance;
  for (;;) {
    const int port = std::uniform_int_distribution(20'000, 31'999)(chance);
    // The same mark as that of tests/integration/support/server.py; it goes with this process.
    const auto name = fmt::format("pgweir-tests-port-{}", port);
    sockaddr_un mark{};
    mark.sun_family = AF_UNIX;
    std::copy(name.begin(), name.end(), mark.sun_path + 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    const int reserved = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (reserved < 0) throw std::runtime_error("could not make a socket");
    if (bind(reserved, reinterpret_cast<const sockaddr*>(&mark), size) == 0 && can_bind(port))
      return port;
    close(reserved);
  }
}

FakeServer::FakeServer(const std::vector<std::string>& answers)
    : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), port_(bind_loopback(listener_)) {
  if (listen(listener_, 16) != 0) throw std::runtime_error("listen failed");
  if (answers.empty()) return;
  const pid_t parent = getpid();
  child_ = fork();
  if (child_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (getppid() == parent) {
    const int connection = accept(listener_, nullptr, nullptr);
    char request[4096];
    for (const std::string& answer : answers) {
      if (read(connection, request, sizeof request) <= 0) break;
      if (send(connection, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) break;
    }
    // Read to the end first: closing with unread data would reset the connection.
    shutdown(connection, SHUT_WR);
    while (read(connection, request, sizeof request) > 0) continue;
    close(connection);
  }
  _exit(0);
}

FakeServer::~FakeServer() {
  close(listener_);
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

}  // namespace weir::pq
