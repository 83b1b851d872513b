variable "endpoint" {
  description = "URL of the cloud; the environment's where it is null."
  type        = string
  default     = null
}

variable "token" {
  description = "Token of the cloud; the environment's where it is null."
  type        = string
  default     = null
  sensitive   = true
}

variable "environment" {
  type    = string
  default = "production"
}

variable "cidr_block" {
  type    = string
  default = "10.0.0.0/16"
}

variable "instance_type" {
  type    = string
  default = "t3.micro"
}

variable "services" {
  description = "What runs, and on which ports it is reached."
  type = map(object({
    ports     = list(number)
    instances = optional(number, 1)
  }))
  default = {
    web = { ports = [80, 443] }
    api = { ports = [8080], instances = 2 }
  }
}

variable "adopted_buckets" {
  description = "Buckets that exist already, by name: their ids."
  type        = map(string)
  default     = {}
}
