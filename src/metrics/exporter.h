#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http/server.h"
#include "metrics/family.h"

namespace weir::metrics {

/// Prometheus's text format. The module with prometheus-cpp is loaded by the first call. Throws
/// Error{usage} if it is not there.
[[nodiscard]] std::string to_text(const std::vector<Family>& families);

/// Replaces the file for node_exporter's textfile collector, which never sees half of it. Families
/// without a sample are left out. Throws Error{usage, io, disk_full}.
void write_file(const std::string& path, const std::vector<Family>& families);

/// What GET /metrics is answered with; 500 if it cannot be made. Takes as long as `collect` does.
[[nodiscard]] http::Answer to_answer(const std::function<std::vector<Family>()>& collect);

/// Serves GET /metrics over HTTP, with threads of its own, and nothing else. `address`:
/// "127.0.0.1:9187". `collect` is called by those threads until the server is gone. Throws
/// Error{usage} if the module is not there, Error{retry} if the address cannot be listened on.
[[nodiscard]] std::unique_ptr<http::Server> serve(const std::string& address,
                                                  std::function<std::vector<Family>()> collect);

/// "9187", ":9187", "127.0.0.1:9187", "localhost:9187", "[::1]:9187" as host and port; without a
/// host only this machine can ask. Throws Error{usage}.
[[nodiscard]] std::string parse_listen_address(const std::string& text);

}  // namespace weir::metrics
