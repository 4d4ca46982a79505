#include "metrics/exporter.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/library.h"
#include "base/text.h"
#include "io/small_file.h"
#include "metrics/module/module.h"
#include "net/listener.h"

namespace weir::metrics {

namespace {

const pgweir_metrics_module& module() {
  static const auto library = Library::module(
      "libpgweir-metrics.so",
      "A build from source needs prometheus-cpp-dev for it; the module must be in the program's "
      "directory or in ../lib/pgweir.");
  static const auto& loaded =
      interface_of<pgweir_metrics_module>(library, "pgweir_metrics", PGWEIR_METRICS_INTERFACE);
  return loaded;
}

/// The families in plain C; valid as long as both live.
class Plain {
 public:
  explicit Plain(const std::vector<Family>& families) {
    for (const auto& family : families) {
      if (family.samples.empty()) continue;
      auto& samples = samples_.emplace_back();
      for (const auto& sample : family.samples) {
        auto& labels = labels_.emplace_back();
        for (const auto& [name, value] : sample.labels)
          labels.push_back({name.c_str(), value.c_str()});
        samples.push_back({labels.data(), labels.size(), sample.value});
      }
      texts_.push_back({std::string(family.metric.name), std::string(family.metric.help)});
      families_.push_back(
          {nullptr, nullptr, family.metric.counter ? 1 : 0, samples.data(), samples.size()});
    }
    for (std::size_t i = 0; i < families_.size(); ++i) {
      families_[i].name = texts_[i].first.c_str();
      families_[i].help = texts_[i].second.c_str();
    }
  }
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;
  [[nodiscard]] const std::vector<pgweir_family>& families() const { return families_; }

 private:
  // The inner vectors keep their places when the outer ones grow.
  std::vector<std::vector<pgweir_label>> labels_;
  std::vector<std::vector<pgweir_sample>> samples_;
  std::vector<std::pair<std::string, std::string>> texts_;
  std::vector<pgweir_family> families_;
};

void take_string(void* taker, const char* text, std::size_t size) {
  static_cast<std::string*>(taker)->assign(text, size);
}

Error wrong_address(const std::string& text, std::string_view why) {
  return Error(ErrorKind::usage, fmt::format("wrong address \"{}\" to listen on: {}", text, why))
      .hint(
          "Use a port, such as 9187, for this machine only, or an address: 192.0.2.7:9187, "
          "[::1]:9187.");
}

Error cannot_listen(const std::string& address, const std::string& reason) {
  return Error(ErrorKind::retry, "could not listen for metrics: " + reason)
      .with("address", address)
      .hint(
          "Another program may have the port (ss -ltnp shows which): choose another one for "
          "--metrics-listen.");
}

}  // namespace

std::string to_text(const std::vector<Family>& families) {
  const Plain plain(families);
  std::string text;
  if (module().text(plain.families().data(), plain.families().size(), &take_string, &text) != 0)
    throw Error(ErrorKind::io, "the metrics could not be written: " + text);
  return text;
}

void write_file(const std::string& path, const std::vector<Family>& families) {
  if (!path.ends_with(".prom"))
    throw Error(ErrorKind::usage, "the name of a metrics file must end with .prom")
        .with("path", path)
        .hint("node_exporter reads only such files.");
  const auto text = to_text(families);
  try {
    io::replace_small_file(path, text, 0644);  // it is read by another user
  } catch (Error& error) {
    throw std::move(error).hint(
        "Check that the directory exists and that this user can write there.");
  }
}

http::Answer to_answer(const std::function<std::vector<Family>()>& collect) {
  return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = to_text(collect())};
}

std::unique_ptr<http::Server> serve(const std::string& address,
                                    std::function<std::vector<Family>()> collect) {
  module();  // a missing module is reported now, not at the first request
  const auto answer =
      [collect = std::move(collect)](const http::Request& request) -> http::Server::Reply {
    if (request.method != "GET" && request.method != "HEAD")
      return http::Answer{
          .status = 405, .body = "only GET and HEAD\n", .headers = {{"Allow", "GET, HEAD"}}};
    if (request.path != "/metrics") return http::Answer{.status = 404, .body = "see /metrics\n"};
    return [&collect] { return to_answer(collect); };
  };
  try {
    return std::make_unique<http::Server>(
        net::Listener::bind(net::Address::tcp(address), net::Kind::bytes), answer);
  } catch (const Error& error) {
    throw cannot_listen(address, error.message());
  }
}

std::string parse_listen_address(const std::string& text) {
  const auto colon = text.rfind(':');
  const bool only_port = colon == std::string::npos;
  std::string host = only_port ? "" : text.substr(0, colon);
  const auto port = only_port ? text : text.substr(colon + 1);
  const auto number = parse_number<unsigned>(port);
  if (!number || *number < 1 || *number > 65535)
    throw wrong_address(text, "a port is a number from 1 to 65535");
  if (host.empty() || host == "localhost") host = "127.0.0.1";
  if (host == "*") host = "0.0.0.0";
  const bool six = host.front() == '[';
  if (six != (host.find(':') != std::string::npos) || (six && host.back() != ']'))
    throw wrong_address(text, "an IPv6 address must be in brackets");
  const std::string_view allowed = six ? "0123456789abcdefABCDEF:.[]" : "0123456789.";
  if (host.find_first_not_of(allowed) != std::string::npos)
    throw wrong_address(text, "the host is not a numeric address");
  return fmt::format("{}:{}", host, *number);
}

}  // namespace weir::metrics
